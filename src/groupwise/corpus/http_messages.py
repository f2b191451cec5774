"""This module takes an HTTP response apart: its status, its headers, and the bytes of the page in it.

What calls itself chunked or compressed and is not is taken as it is; nothing is unpacked to more than a page's size.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
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
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\0", b"MM\0*", b"RIFF", b"OggS", b"ID3\3", b"ID3\4", b"fLaC"),
    *(b"\0\0\0\x18ftyp", b"\0\0\0\x1cftyp", b"\0\0\0\x20ftyp", b"wOFF", b"wOF2", b"%PDF", b"%!PS", b"SQLite format"),
    *(b"PK\x03\x04", b"\x1f\x8b", b"\x28\xb5\x2f\xfd", b"BZh91AY", b"7z\xbc\xaf", b"\xfd7zXZ", b"Rar!", b"\x7fELF"),
    *(b"\0asm", b"\xca\xfe\xba\xbe", b"\x1aE\xdf\xa3"),
)


GZIP, ZSTD = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"
PLAIN = ("", "identity", "none", "utf-8", "utf8", "aws-chunked")
MOST_ENCODINGS = 4
MOST_STREAMS = 256
"""Packed streams one behind the other: each costs a copy of what follows, and an honest page has few."""
SLICE = 1 << 10
"""Bytes of zstd that are unpacked at once: they become 32 MB at most."""


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
    if block[:5].upper() != b"HTTP/":
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
    transfer = [word.strip() for word in message.headers.get("transfer-encoding", "").lower().split(",")]
    body = unchunked(message.body) if "chunked" in transfer else message.body
    contents = message.headers.get("content-encoding", "").lower().split(",")
    body = _decoded(body, [*contents, *(word for word in transfer if word in COMPRESSIONS)], most)
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


def _decoded(body: bytes, encodings: Sequence[str], most: int) -> bytes:
    """The body without its compressions, never more than ``most`` bytes and one. Raises NoPage for a broken one."""
    names = [name.strip() for name in encodings if name.strip() not in PLAIN]
    if len(names) > MOST_ENCODINGS:
        raise NoPage("content encoding", ", ".join(names)[:80])
    for name in reversed(names):
        if name not in COMPRESSIONS:
            raise NoPage("content encoding", name[:80])
        body = COMPRESSIONS[name](body, most, name)
    for _ in range(MOST_ENCODINGS):
        if not body.startswith(GZIP):
            break
        body = _inflated(body, most, "gzip that was not named")
    return body


def _inflated(body: bytes, most: int, name: str) -> bytes:
    """Unpacks what zlib packed, by its own marks: gzip and deflate are named for one another."""
    if body.startswith(GZIP):
        kinds: tuple[int, ...] = (31,)
    elif len(body) > 1 and body[0] & 15 == 8 and (body[0] << 8 | body[1]) % 31 == 0:
        kinds = (15, -15)
    elif name == "deflate":
        kinds = (-15,)
    else:
        return body  # it was decoded before it was stored
    why = ""
    for bits in kinds:
        try:
            return _members(body, most, name, bits)
        except zlib.error as error:
            why = str(error)
    if _is_markup(body):
        return body
    raise NoPage("broken compression", f"{name}: {why[:100]}")


def _members(body: bytes, most: int, name: str, bits: int) -> bytes:
    """One packed stream after the other, as gzip may have; what follows them and is none is left out."""
    found = b""
    for _ in range(MOST_STREAMS + 1):
        unzip = zlib.decompressobj(bits)
        found += unzip.decompress(body, most + 1 - len(found))
        if len(found) > most:
            return found
        if not unzip.eof:
            raise NoPage("broken compression", f"{name} ends after {len(body):,} bytes, in the middle")
        body = unzip.unused_data
        if bits != 31 or not body.startswith(GZIP):
            return found
    raise NoPage("broken compression", f"{name}: more than {MOST_STREAMS} streams, one behind the other")


def _zstd_unpacked(body: bytes, most: int, name: str) -> bytes:
    if not body.startswith(ZSTD):
        return body
    import zstandard

    found = bytearray()
    for _ in range(MOST_STREAMS + 1):
        if not body.startswith(ZSTD):
            return bytes(found)
        unpack = zstandard.ZstdDecompressor().decompressobj()
        for start in range(0, len(body), SLICE):
            try:
                found += unpack.decompress(body[start : start + SLICE])
            except zstandard.ZstdError as error:
                raise NoPage("broken compression", f"{name}: {str(error)[:100]}") from None
            if len(found) > most:
                return bytes(found)
            if unpack.eof:
                body = unpack.unused_data + body[start + SLICE :]
                break
        else:
            raise NoPage("broken compression", f"{name} ends after {len(body):,} bytes, in the middle")
    raise NoPage("broken compression", f"{name}: more than {MOST_STREAMS} streams, one behind the other")


def _brotli_unpacked(body: bytes, most: int, name: str) -> bytes:
    """Brotli has no mark at its beginning: what is no Brotli and looks like a page is taken as it is."""
    import brotli

    unpack = brotli.Decompressor()
    pieces, size = [], 0
    try:
        piece = unpack.process(body, output_buffer_limit=most + 1)
        while piece:
            pieces.append(piece)
            size += len(piece)
            if size > most:
                break
            piece = unpack.process(b"", output_buffer_limit=most + 1 - size)
    except brotli.error as error:
        if _is_markup(body):
            return body
        raise NoPage("broken compression", f"{name}: {str(error)[:100]}") from None
    if size <= most and not unpack.is_finished():
        raise NoPage("broken compression", f"{name} ends after {len(body):,} bytes, in the middle")
    return b"".join(pieces)


COMPRESSIONS: dict[str, Callable[[bytes, int, str], bytes]] = {
    "gzip": _inflated,
    "x-gzip": _inflated,
    "deflate": _inflated,
    "zstd": _zstd_unpacked,
    "br": _brotli_unpacked,
}


def charset_of(kind: str) -> str:
    """Returns the encoding that a content type names: ``utf-8`` of ``text/html; charset="utf-8"``; empty where it names
    none."""
    for part in kind.split(";")[1:]:
        name, _, value = part.partition("=")
        if name.strip().lower() == "charset":
            return value.strip().strip("\"'")[:40]
    return ""
