"""Archives made by hand."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

LINE, NOTHING = "\r\n", ""


def record(
    url: str, body: bytes = b"", headers: str = "Content-Type: text/html; charset=utf-8", status: int = 200,
    kind: str = "response", http: bytes | None = None, length: int | None = None,
) -> bytes:  # fmt: skip
    """One gzip member that holds a record; ``http`` in place of the whole message, ``length`` in place of its own."""
    block = (
        http
        if http is not None
        else f"HTTP/1.1 {status} X\r\n{headers}{LINE if headers else NOTHING}\r\n".encode() + body
    )
    address = f"WARC-Target-URI: {url}\r\n" if url else ""
    head = (
        f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Date: 2026-01-01T00:00:00Z\r\n{address}"
        f"Content-Type: application/http; msgtype={kind}\r\nContent-Length: {length or len(block)}\r\n\r\n"
    )
    return gzip.compress(head.encode() + block + b"\r\n\r\n", mtime=0)


@pytest.fixture
def archive(tmp_path: Path) -> Callable[..., Path]:
    """Writes an archive of records, each what ``record`` takes or bytes as they are."""

    def write(name: str, *records: bytes) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(records))
        return path

    return write


@pytest.fixture(name="record")
def record_fixture() -> Callable[..., bytes]:
    return record
