"""What strangers try, by the kind of stranger; ``strangers.py`` tries it all."""

from __future__ import annotations

from typing import NamedTuple

OUTCOMES = ("held", "refused", "ESCAPED", "FORGED", "TOUCHED", "HUNG", "TRACEBACK")
"""The first two are good. ESCAPED: something ran, was reached, read or taken that should not; FORGED: a verdict is false;
TOUCHED: a file or a process of another's is no longer what it was."""


class Seen(NamedTuple):
    """What became of an attempt, and in a few words how that was seen."""

    outcome: str
    detail: str = ""
