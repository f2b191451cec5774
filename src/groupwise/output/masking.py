"""This module takes keys and passwords out of whatever is written or shown: records, reports, errors, notes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "***"
SHORTEST = 10
"""Letters of a secret in the environment: a shorter one would hide ordinary words."""
_SECRET_WORDS_TEXT = """
KEY APIKEY ACCESSKEY SECRETKEY TOKEN APITOKEN SECRET PASSWORD PASSWD PASSPHRASE PASS PGPASSWORD SSHPASS CREDENTIAL
CREDENTIALS PAT AUTH BEARER COOKIE
"""
_SECRET_WORDS = frozenset(_SECRET_WORDS_TEXT.split())
_PLACES = ("PATH", "FILE", "DIR", "URL", "VARIABLE", "ID", "SOCK", "METHOD", "TYPE")
"""Variables whose names end so say where a secret is."""
_SECRET_FIELD = re.compile(
    r"(?:.*_)?(?:api_?key|(?:auth|access|hf|bearer|api|hub)_token|secret|secret_key|private_key|passw(?:or)?d"
    r"|authorization|credentials?)",
    re.IGNORECASE,
)
_LOOKS = re.compile(
    r"(?<![A-Za-z0-9])(?:sk-[A-Za-z0-9_-]{16,200}|sk_(?:live|test)_[A-Za-z0-9]{16,200}|hf_[A-Za-z0-9]{20,200}"
    r"|gh[pousr]_[A-Za-z0-9]{20,200}|github_pat_[A-Za-z0-9_]{20,200}|glpat-[A-Za-z0-9_-]{16,200}"
    r"|xox[abprs]-[A-Za-z0-9-]{10,200}|A[KS]IA[0-9A-Z]{16}|AIza[A-Za-z0-9_-]{35}"
    r"|(?:gsk|r8|npm)_[A-Za-z0-9]{30,200}|(?:dckr_pat|tgp_v1|wandb_v1)_[A-Za-z0-9_-]{20,200}"
    r"|(?:xai|pplx)-[A-Za-z0-9]{40,200}|nvapi-[A-Za-z0-9_-]{40,200}|pypi-AgE[A-Za-z0-9_-]{40,500}"
    r"|eyJ[A-Za-z0-9_-]{10,2000}\.eyJ[A-Za-z0-9_-]{10,2000}\.[A-Za-z0-9_-]{10,500})"
)
"""Keys of services that publish their form, and signed web tokens."""
_MARKS = ("-", "_", "AKIA", "ASIA", "AIza", "eyJ")
"""One of them is in every text that ``_LOOKS`` finds anything in."""
_HEADER = re.compile(
    r"(\b(?:Bearer|Basic|bearer|basic|BEARER|BASIC)\s{1,4})(?=[A-Za-z._~+/=-]{0,200}[0-9])[A-Za-z0-9._~+/=-]{16,2000}"
)
"""Of a request; a credential has a digit, and a long word has none."""
_IN_URL = re.compile(r"(?<=://)[^/\s@?#]{1,200}(?=@)")
_IN_QUERY = re.compile(
    r"([?&][\w-]{0,30}(?:key|token|secret|password|passwd|signature|sig|auth)[\w-]{0,30}=)[^&#\s\"'<>\\]{1,2000}",
    re.IGNORECASE,
)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without ``secrets``, without the values of environment variables that are named as a secret's, and
    without what has the form of a known service's key, or stands in a URL as one."""
    for secret in sorted({*secrets, *_of_environment()}, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, MASK)
    if any(mark in text for mark in _MARKS):
        text = _LOOKS.sub(MASK, text)
    if "earer" in text or "asic" in text or "BEARER" in text or "BASIC" in text:
        text = _HEADER.sub(rf"\1{MASK}", text)
    if "://" in text:
        text = _IN_QUERY.sub(rf"\1{MASK}", _IN_URL.sub(MASK, text))
    return text


def names_secret(name: str) -> bool:
    """Says whether a field of that name holds a secret."""
    return _SECRET_FIELD.fullmatch(name) is not None


def _of_environment() -> set[str]:
    found = {os.environ.get(name, "").strip() for name in os.environ if _is_secret(name)}
    return {value for value in found if len(value) >= SHORTEST and not value.isspace()}


@lru_cache(maxsize=4096)
def _is_secret(name: str) -> bool:
    words = name.upper().split("_")
    return words[-1] not in _PLACES and not _SECRET_WORDS.isdisjoint(words)
