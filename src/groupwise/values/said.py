"""This module says what a description of a recipe leaves out."""

from collections.abc import Mapping
from typing import Any

SAID_WHERE_SET: Mapping[str, Any] = {"said": "where set"}
"""Metadata of a dataclass's field that came later: it is left out of descriptions while it has its default, so that
runs which began before it go on."""
