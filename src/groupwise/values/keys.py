"""This module makes short names for long rows of token ids."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Sequence


def prompt_key(tokens: Sequence[int], begun: bytes = b"") -> bytes:
    """A hash of all that a network reads of a prompt: whoever needs to know whether two are the same compares this.

    ``begun`` is the key of what stands before them.
    """
    return hashlib.blake2b(begun + array("q", tokens).tobytes(), digest_size=16).digest()
