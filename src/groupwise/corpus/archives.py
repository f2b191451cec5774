"""This module reads web pages out of WARC archives, and says by name what it could not read.

fastwarc finds the records; the HTTP message in each is taken apart here, since fastwarc's own decoding of contents was
seen to end an archive in silence at the first response that is both chunked and compressed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from groupwise.corpus.addresses import normal_form
from groupwise.corpus.http_messages import HEAD_BYTES, MEGABYTE, NoPage, Read, charset_of, message_of, page_body

CUT = "cut record"
MARKS = {".gz": re.compile(b"\x1f\x8b\x08"), ".warc": re.compile(rb"WARC/1\.\d\r?\n")}
"""By suffix of an archive: how a record may begin."""
LONGEST_MARK = 10
SUFFIXES = (".warc", ".warc.gz", ".warc.zst")


@dataclass(frozen=True)
class RawPage:
    """A raw page is what a server sent, with where it lies."""

    id: str
    """``crawl-00000.warc.gz:1234``: archive and offset of the record."""
    url: str
    address: str
    """Its normal form."""
    date: str
    charset: str
    """As the header says; empty where it does not."""
    body: bytes


@dataclass(frozen=True)
class RefusedRecord:
    """This is a record that is no page: by which reason, with the evidence."""

    id: str
    url: str
    reason: str
    evidence: str = ""


def read_archive(path: Path, read: Read) -> Iterator[RawPage | RefusedRecord]:
    """Every record of an archive, as a page or with the reason why it is none."""
    size = path.stat().st_size
    start = 0
    same = 0
    while start < size:
        with path.open("rb") as stream:
            last = start
            stream.seek(start)
            try:
                cut = False
                for record in _records(stream):
                    here = start + record.stream_pos
                    same, last = same + 1 if here == last and same else 1, here
                    page = _page(record, f"{path.name}:{last}" + (f"#{same}" if same > 1 else ""), read)
                    yield page
                    cut = isinstance(page, RefusedRecord) and page.reason == CUT
                stopped = "" if stream.tell() >= size else "the reader stopped"
            except (OSError, ValueError, RuntimeError, EOFError) as error:
                stopped = str(error)[:200] or type(error).__name__
        if not stopped and cut and path.suffix in MARKS:  # its length may be a lie that hides others
            start = _next_record(path, last + 1)
            continue
        following = _next_record(path, last + 1) if stopped or path.suffix == ".gz" else size
        if not stopped and following >= size:
            return
        stopped = stopped or "the reader stopped"  # as at an empty member
        yield RefusedRecord(f"{path.name}:{last}", "", "damaged archive", f"{stopped}; continued at byte {following:,}")
        start = following


def _records(stream: BinaryIO) -> Iterator[Any]:
    from fastwarc.warc import ArchiveIterator

    return iter(ArchiveIterator(stream, parse_http=False, auto_decode="none"))


def _next_record(path: Path, start: int) -> int:
    """Where the next record begins, at or after ``start``; the end of the file where there is none."""
    mark = MARKS.get(path.suffix)
    with path.open("rb") as file:
        file.seek(start)
        offset, rest = start, b""
        while chunk := file.read(MEGABYTE):
            window = rest + chunk
            for found in mark.finditer(window) if mark else ():
                if path.suffix == ".warc" or _opens(path, offset - len(rest) + found.start()):
                    return offset - len(rest) + found.start()
            offset, rest = offset + len(chunk), window[-LONGEST_MARK:]
    return path.stat().st_size


def _opens(path: Path, offset: int) -> bool:
    """Says whether a gzip member begins here that holds a record."""
    with path.open("rb") as file:
        file.seek(offset)
        try:
            return zlib.decompressobj(31).decompress(file.read(2048), 8)[:5] == b"WARC/"
        except zlib.error:
            return False


def _page(record: Any, name: str, read: Read) -> RawPage | RefusedRecord:
    headers = record.headers
    url = str(headers.get("WARC-Target-URI") or "").strip().strip("<>")
    try:
        kind = str(headers.get("WARC-Type") or "unknown").lower()
        if kind != "response":
            raise NoPage(f"{kind} record" if kind.isalpha() and len(kind) < 20 else "unknown record")
        block = record.reader.read(int(read.megabytes * MEGABYTE) + HEAD_BYTES)
        said = str(headers.get("Content-Length") or "")
        if said.isdigit() and len(block) < min(int(said), int(read.megabytes * MEGABYTE) + HEAD_BYTES):
            raise NoPage(CUT, f"{len(block):,} of {int(said):,} bytes")
        if not url:
            raise NoPage("no address")
        try:
            address = normal_form(url)
        except ValueError as error:
            raise NoPage("bad address", str(error)[:200]) from None
        message = message_of(block)
        body = page_body(message, read)
        date = str(headers.get("WARC-Date") or "")[:40]
        return RawPage(name, _clean(url), address, date, charset_of(message.headers.get("content-type", "")), body)
    except NoPage as why:
        return RefusedRecord(name, _clean(url)[:500], why.reason, why.evidence)


def _clean(url: str) -> str:
    return url.encode("utf-8", "replace").decode()
