"""A page that takes too much is dropped by name, and the next one is read."""

from __future__ import annotations

import os
import signal

import pytest

from groupwise.corpus.extraction import Extract, Text
from groupwise.corpus.page_reader import PageReader

GOOD = b"<p>" + b"an ordinary page of words " * 10 + b"</p>"
DEEP = b"<div>" * 30_000 + b"words" + b"</div>" * 30_000


def test_what_takes_too_long_or_too_much_is_named_and_the_next_page_is_read() -> None:
    with PageReader(Extract(main=True, seconds=0.3, megabytes=64)) as reader:
        assert isinstance(reader.read(GOOD, "utf-8"), Text)
        assert reader.read(DEEP, "") == ("time", "more than 0.3 s")
        assert isinstance(reader.read(GOOD, ""), Text)
        reason, _ = reader.read(b"<p>" + b"<b>x" * 2_000_000, "")  # type: ignore[misc]
        assert reason in ("memory", "crash", "time", "error")
        assert isinstance(reader.read(GOOD, ""), Text)
        process = reader._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert reader.read(GOOD, "") == ("crash", "its process ended with -9")
        assert isinstance(reader.read(GOOD, ""), Text)
    assert reader._process is None


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"", ""),
        (b"\0" * 1000, ""),
        (b"<", "<"),
        (b"\xff" * 5000, "ÿ" * 5000),
        (b"<!--", ""),
        (b"&" * 10_000, "&" * 10_000),
        (b"<p>\xed\xa0\x80", "í\xa0€"),  # half a letter in UTF-8 is read as Windows' letters
        (b"<table>" * 500, ""),
    ],
    ids=["empty", "zeros", "bracket", "bytes", "comment", "ampersands", "half a letter", "tables"],
)
def test_strange_pages_are_texts(body: bytes, text: str) -> None:
    from groupwise.corpus.extraction import text_of

    assert text_of(body, "", Extract()).text == text
