"""This module takes an HTTP response apart: its status, its headers, and the bytes of the page in it.

What calls itself chunked or compressed and is not is taken as it is; nothing is unpacked to more than a page's size.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Annotated

PAGES = ("text/html", "application/xhtml+xml")
UNKNOWN = ("", "application/octet-stream", "unknown/unknown", "content/unknown")
HEAD_BYTES = 64 << 10
MEGABYTE = 1 << 20
MARKUP = (
    b"<!doctype html",
    b"<html",
    b"<head",
    b"<body",
    b"<div",
    b"<p",
    b"<title",
    b"<meta",
    b"<h1",
    b"<table",
    b"<!--",
)
BINARY = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"%PDF",
    b"PK\x03\x04",
    b"RIFF",
    b"\x1f\x8b",
    b"\x7fELF",
    b"BM",
    b"OggS",
)


@dataclass(frozen=True)
class Read:
    """This value says what of an archive is a page."""

    megabytes: Annotated[float, "(0, inf)"] = 4.0
    """Size of a page, as sent and decoded, beyond which it is dropped."""
    statuses: tuple[int, ...] = (200,)


@dataclass
class Message:
    """An HTTP response: its status, its headers by lower-case name, and its body as sent."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


class NoPage(Exception):  # noqa: N818 - it says why
    """A record is no page: reason and evidence."""

    def __init__(self, reason: str, evidence: str = "") -> None:
        super().__init__(reason)
        self.reason, self.evidence = reason, evidence


def message_of(block: bytes) -> Message:
    """An HTTP response taken apart. Raises NoPage where it does not begin as one."""
    if not block.startswith(b"HTTP/"):
        raise NoPage("no HTTP response", repr(block[:40]))
    head, _, body = block.partition(b"\r\n\r\n")
    if not body and b"\n\n" in block[:HEAD_BYTES]:
        head, _, body = block.partition(b"\n\n")
    first, *lines = head[:HEAD_BYTES].split(b"\n")
    words = first.split()
    status = int(words[1]) if len(words) > 1 and words[1].isdigit() and len(words[1]) < 5 else 0
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon:
            headers.setdefault(name.strip().lower().decode("latin-1"), value.strip().decode("latin-1"))
    return Message(status, headers, body)


def page_body(message: Message, read: Read) -> bytes:
    """The bytes of a page, decoded. Raises NoPage for what is none."""
    if message.status not in read.statuses:
        raise NoPage(
            f"status {message.status // 100}xx" if 100 <= message.status < 600 else "status unknown",
            str(message.status),
        )
    kind = message.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in PAGES and kind not in UNKNOWN:
        raise NoPage("no HTML", kind[:80])
    most = int(read.megabytes * MEGABYTE)
    body = message.body
    if "chunked" in message.headers.get("transfer-encoding", "").lower():
        body = unchunked(body)
    body = _decoded(body, message.headers.get("content-encoding", ""), most)
    if len(body) > most:
        raise NoPage("size", f"more than {read.megabytes:g} MB")
    if not body.strip():
        raise NoPage("empty")
    if body.startswith(BINARY):
        raise NoPage("no HTML", f"begins {body[:4]!r}")
    if kind in UNKNOWN and not _is_markup(body):
        raise NoPage("no HTML", "no type given, and no markup in it")
    return body


def _is_markup(body: bytes) -> bool:
    start = body[:4096].lower()
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        start = start.replace(b"\0", b"")
    return any(mark in start for mark in MARKUP)


def unchunked(body: bytes) -> bytes:
    """The body without the sizes between its chunks; as it is where it is not chunked after all."""
    pieces: list[bytes] = []
    place = 0
    while True:
        end = body.find(b"\n", place, place + 200)
        word = body[place : max(end, place)].partition(b";")[0].strip()
        if end < 0 or not word or len(word) > 8 or not all(letter in b"0123456789abcdefABCDEF" for letter in word):
            return b"".join(pieces) if pieces else body
        size = int(word, 16)
        if size == 0:
            return b"".join(pieces)
        pieces.append(body[end + 1 : end + 1 + size])
        place = end + 1 + size
        place += 2 if body[place : place + 2] == b"\r\n" else 1 if body[place : place + 1] == b"\n" else 0


def _decoded(body: bytes, encoding: str, most: int) -> bytes:
    """The body without its compressions, never more than ``most`` bytes and one. Raises NoPage for a broken one."""
    names = [name.strip().lower() for name in encoding.split(",") if name.strip()]
    if len(names) > 4:
        raise NoPage("content encoding", encoding[:80])
    for name in reversed(names):
        if name in ("gzip", "x-gzip", "deflate"):
            body = _inflated(body, most, name)
        elif name == "zstd":
            body = _unpacked(body, most)
        elif name not in ("identity", "none", "utf-8", "utf8"):
            raise NoPage("content encoding", name[:80])
    return body


def _inflated(body: bytes, most: int, name: str) -> bytes:
    if name != "deflate" and not body.startswith(b"\x1f\x8b"):
        return body  # it was decoded before it was stored
    for bits in (31,) if name != "deflate" else (15, -15):
        unzip = zlib.decompressobj(bits)
        try:
            found = unzip.decompress(body, most + 1)
        except zlib.error as error:
            why = str(error)
            continue
        if not unzip.eof and len(found) <= most:
            raise NoPage("broken compression", f"{name} ends after {len(body):,} bytes, in the middle")
        return found
    if name == "deflate" and _is_markup(body):
        return body
    raise NoPage("broken compression", f"{name}: {why[:100]}")


def _unpacked(body: bytes, most: int) -> bytes:
    if not body.startswith(b"\x28\xb5\x2f\xfd"):
        return body
    import zstandard

    try:
        with zstandard.ZstdDecompressor().stream_reader(body) as reader:
            return bytes(reader.read(most + 1))
    except zstandard.ZstdError as error:
        raise NoPage("broken compression", f"zstd: {str(error)[:100]}") from None


def charset_of(kind: str) -> str:
    """``utf-8`` of ``text/html; charset="utf-8"``."""
    for part in kind.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")[:40]
    return ""
