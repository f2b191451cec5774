"""This module reads a page's bytes as text, whatever its server, its markup or nobody says of their encoding."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
WIDER = {"shift_jis": "cp932", "euc_kr": "cp949", "euc-kr": "cp949", "big5": "big5hkscs"}
"""Encodings that hold all of those that pages name, as browsers read them."""
WESTERN = ("cp1252", "windows-1252", "iso8859-1", "iso-8859-1", "iso8859-15", "iso-8859-15", "latin-1")
"""Encodings in which every byte is a letter, so that nothing shows where they are named wrongly."""
MOST_BAD = 0.01
"""Share of letters beyond ASCII that may not be readable."""
HIGH = re.compile(rb"[\x80-\xff]+")
LONG_RUN = 4
"""No Western word has so many letters beyond ASCII in a row."""
SWITCHES = (b"\0", b"\x1b", b"~{")
"""In bytes of ASCII: what encodings of several bytes a letter have."""
UNREADABLE = "\ufffd"


def decoded(body: bytes, charset: str) -> str:
    """A page as text: by its byte order mark, as UTF-8 where it is that, else by the first of what its header says,
    its markup says, and its bytes look like that reads nearly all of it."""
    for mark, name in MARKS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    if body.isascii() and not any(mark in body for mark in SWITCHES):
        return body.decode("ascii")
    if not body.isascii():
        try:
            return codecs.getincrementaldecoder("utf-8")().decode(body)
        except UnicodeDecodeError:
            pass
    first = ""
    for name in _candidates(body, charset):
        text = codecs.decode(body, name, "replace")
        first = first or text
        if _reads(text) and not (name in WESTERN and _has_wide_letters(body)):
            return text
    return first or body.decode("cp1252", "replace")


def _candidates(body: bytes, charset: str) -> Iterator[str]:
    """Names of encodings, each once: of the header, of the markup, UTF-8, and by the looks of the bytes."""
    from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

    seen: set[str] = set()
    for found in (
        lambda: map_encoding_to_html5(charset, False) if charset else None,
        lambda: detect_encoding(body, from_html_meta=True),
        lambda: "utf-8",
        lambda: detect_encoding(body, from_html_meta=False),
        lambda: "cp949",  # what looks Korean is called UTF-8 by the detector
        lambda: "cp1252",
    ):
        name = str(found() or "")
        name = WIDER.get(name, name)
        if name.startswith(("utf-16", "utf-32")) and b"\0" not in body:
            continue  # what says so could not be read if it were
        if name and name not in seen and _is_known(name):
            seen.add(name)
            yield name


def _is_known(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding  # type: ignore[attr-defined]
    except LookupError:
        return False


def _reads(text: str) -> bool:
    """Whether nearly all letters beyond ASCII could be read."""
    bad = text.count(UNREADABLE)
    return not bad or bad <= MOST_BAD * (len(text) - len(text.encode("ascii", "ignore")))


def _has_wide_letters(body: bytes) -> bool:
    """Whether most bytes beyond ASCII stand in long runs, as those of letters of several bytes do."""
    runs = [len(run) for run in HIGH.findall(body)]
    return 2 * sum(length for length in runs if length >= LONG_RUN) > sum(runs)
