"""Archives are read to their end, whatever is in them; every record is a page or has a reason."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from pathlib import Path

import brotli
import pytest
import zstandard

from groupwise.corpus.archives import RawPage, RefusedRecord, read_archive
from groupwise.corpus.http_messages import Read, unchunked

PAGE = b"<html><body><p>" + b"words of a page " * 20 + b"</p></body></html>"
HTML = "Content-Type: text/html"


def chunked(body: bytes, size: int = 50) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        (HTML, PAGE),
        ("", PAGE),
        ("Content-Type: application/xhtml+xml", PAGE),
        ("Content-Type: application/octet-stream", PAGE),
        (f"{HTML}\r\nContent-Encoding: gzip", gzip.compress(PAGE, mtime=0)),
        (f"{HTML}\r\nContent-Encoding: x-gzip", gzip.compress(PAGE, mtime=0)),
        (f"{HTML}\r\nContent-Encoding: deflate", zlib.compress(PAGE)),
        (f"{HTML}\r\nContent-Encoding: deflate", zlib.compress(PAGE)[2:-4]),
        (f"{HTML}\r\nTransfer-Encoding: chunked", chunked(PAGE)),
        (f"{HTML}\r\nTransfer-Encoding: chunked\r\nContent-Encoding: gzip", chunked(gzip.compress(PAGE, mtime=0))),
        (f"{HTML}\r\nContent-Encoding: gzip, gzip", gzip.compress(gzip.compress(PAGE, mtime=0), mtime=0)),
        (f"{HTML}\r\nTransfer-Encoding: gzip, chunked", chunked(gzip.compress(PAGE, mtime=0))),
        (f"{HTML}\r\nContent-Encoding: identity", PAGE),
        (f"{HTML}\r\nContent-Encoding: br", brotli.compress(PAGE)),
        (f"{HTML}\r\nContent-Encoding: br", PAGE),
        (f"{HTML}\r\nContent-Encoding: zstd", zstandard.compress(PAGE)),
        (f"{HTML}\r\nContent-Encoding: zstd", zstandard.compress(PAGE[:99]) + zstandard.compress(PAGE[99:])),
        (f"{HTML}\r\nContent-Encoding: gzip", gzip.compress(PAGE[:99], mtime=0) + gzip.compress(PAGE[99:], mtime=0)),
        (f"{HTML}\r\nContent-Encoding: gzip", gzip.compress(PAGE, mtime=0) + b"garbage"),
        (f"{HTML}\r\nContent-Encoding: gzip", zlib.compress(PAGE)),
        (f"{HTML}\r\nContent-Encoding: deflate", gzip.compress(PAGE, mtime=0)),
        (f"{HTML}\r\nContent-Encoding: gzip", gzip.compress(gzip.compress(PAGE, mtime=0), mtime=0)),
        (HTML, gzip.compress(PAGE, mtime=0)),
        (f"{HTML}\r\nContent-Encoding: gzip", PAGE),
        (f"{HTML}\r\nContent-Encoding: deflate", PAGE),
        (f"{HTML}\r\nTransfer-Encoding: chunked", PAGE),
        (f"{HTML}\r\nContent-Length: 5", PAGE),
        (f"{HTML}\r\nContent-Length: 99999999", PAGE),
        (f"{HTML}\r\nbroken header line", PAGE),
    ],
)
def test_a_page_is_read_however_it_was_sent(
    archive: Callable[..., Path], record: Callable[..., bytes], headers: str, body: bytes
) -> None:
    (page,) = read_archive(archive("a.warc.gz", record("https://a.org/x", body, headers)), Read())
    assert isinstance(page, RawPage)
    assert page.body == PAGE
    assert page.address == "a.org/x"
    assert page.id == "a.warc.gz:0"


@pytest.mark.parametrize(
    ("reason", "options"),
    [
        ("no HTML", {"headers": "Content-Type: image/png"}),
        ("no HTML", {"headers": HTML, "body": b"\x89PNG" + bytes(100)}),
        ("no HTML", {"headers": "", "body": b"{1: 2}"}),
        ("status 4xx", {"status": 404}),
        ("status 3xx", {"status": 301, "headers": "Location: https://a.org/x"}),
        ("status 5xx", {"status": 503}),
        ("empty", {"body": b"  \n"}),
        ("size", {"body": b"a" * (5 << 20)}),
        ("size", {"headers": f"{HTML}\r\nContent-Encoding: gzip", "body": gzip.compress(bytes(40 << 20), mtime=0)}),
        (
            "broken compression",
            {"headers": f"{HTML}\r\nContent-Encoding: gzip", "body": gzip.compress(PAGE, mtime=0)[:-20]},
        ),
        ("content encoding", {"headers": f"{HTML}\r\nContent-Encoding: snappy"}),
        ("content encoding", {"headers": f"{HTML}\r\nContent-Encoding: " + "gzip, " * 50}),
        ("size", {"headers": f"{HTML}\r\nContent-Encoding: br", "body": brotli.compress(bytes(40 << 20), quality=1)}),
        ("size", {"headers": f"{HTML}\r\nContent-Encoding: zstd", "body": zstandard.compress(bytes(40 << 20))}),
        ("broken compression", {"headers": f"{HTML}\r\nContent-Encoding: br", "body": b"\x0b\x02"}),
        ("broken compression", {"headers": f"{HTML}\r\nContent-Encoding: br", "body": brotli.compress(PAGE)[:-9]}),
        (
            "broken compression",
            {"headers": f"{HTML}\r\nContent-Encoding: zstd", "body": zstandard.compress(PAGE)[:-9]},
        ),
        ("no address", {"url": ""}),
        ("bad address", {"url": "javascript:alert(1)"}),
        ("bad address", {"url": "http://[::1/x"}),
        ("bad address", {"url": "https://a.org/" + "b" * 5000}),
        ("revisit record", {"kind": "revisit"}),
        ("request record", {"kind": "request"}),
        ("no HTTP response", {"http": b"nothing of the kind"}),
        ("no HTTP response", {"http": b""}),
        ("status unknown", {"http": b"HTTP/1.1\r\n\r\n" + PAGE}),
        ("cut record", {"length": 9999}),
    ],
)
def test_what_is_no_page_has_a_reason_and_ends_nothing(
    archive: Callable[..., Path], record: Callable[..., bytes], reason: str, options: dict[str, object]
) -> None:
    bad = record(**{"url": "https://a.org/bad", "body": PAGE, **options})
    last = record("https://a.org/last", PAGE)
    found = list(read_archive(archive("a.warc.gz", *([bad] if reason == "cut record" else [bad, last])), Read()))
    assert isinstance(found[0], RefusedRecord)
    assert found[0].reason == reason
    if reason != "cut record":
        assert isinstance(found[1], RawPage)
        assert found[1].id == f"a.warc.gz:{len(bad)}"


def test_an_archive_damaged_in_the_middle_goes_on_behind(
    archive: Callable[..., Path], record: Callable[..., bytes]
) -> None:
    good = [record(f"https://a.org/{number}", PAGE) for number in range(5)]
    damaged = bytearray(good[2])
    damaged[40:90] = b"\xff" * 50
    found = list(read_archive(archive("a.warc.gz", good[0], good[1], bytes(damaged), good[3], good[4]), Read()))
    assert [each.url for each in found if isinstance(each, RawPage)] == [f"https://a.org/{n}" for n in (0, 1, 3, 4)]
    assert [each.reason for each in found if isinstance(each, RefusedRecord)]
    found = list(read_archive(archive("b.warc.gz", good[0], b"\0" * 1000, good[3]), Read()))
    assert [each.url for each in found if isinstance(each, RawPage)] == ["https://a.org/0", "https://a.org/3"]


@pytest.mark.parametrize(
    "content", [b"", b"nothing", bytes(5000), gzip.compress(b"text", mtime=0), b"\x1f\x8b\x08", b"WARC/1.0\r\n"]
)
def test_what_is_no_archive_ends(archive: Callable[..., Path], content: bytes) -> None:
    for name in ("a.warc.gz", "a.warc"):
        assert not any(isinstance(each, RawPage) for each in read_archive(archive(name, content), Read()))


def test_an_archive_cut_at_any_place_gives_what_is_before(
    archive: Callable[..., Path], record: Callable[..., bytes]
) -> None:
    whole = [record(f"https://a.org/{number}", PAGE) for number in range(3)]
    for cut in (1, 5, 20, 100, len(whole[2]) - 1):
        found = list(read_archive(archive("a.warc.gz", whole[0], whole[1], whole[2][:cut]), Read()))
        assert [each.url for each in found if isinstance(each, RawPage)][:2] == ["https://a.org/0", "https://a.org/1"]


def test_an_archive_without_compression_is_read(archive: Callable[..., Path], record: Callable[..., bytes]) -> None:
    plain = b"".join(gzip.decompress(record(f"https://a.org/{number}", PAGE)) for number in range(3))
    assert [each.id for each in read_archive(archive("a.warc", plain), Read())] == [
        f"a.warc:{place * len(plain) // 3}" for place in range(3)
    ]


def test_records_of_one_gzip_member_have_names_of_their_own(
    archive: Callable[..., Path], record: Callable[..., bytes]
) -> None:
    plain = b"".join(gzip.decompress(record(f"https://a.org/{number}", PAGE)) for number in range(3))
    names = [each.id for each in read_archive(archive("a.warc.gz", gzip.compress(plain, mtime=0)), Read())]
    assert len(set(names)) == 3


def test_chunks_end_where_they_say() -> None:
    assert unchunked(b"3\r\nabc\r\n0\r\n\r\nrest") == b"abc"
    assert unchunked(b"3;x=1\nabc\n2\nde\n0\n") == b"abcde"
    assert unchunked(b"ffffffff\r\nabc") == b"abc"
    assert unchunked(b"<html>") == b"<html>"
    assert unchunked(b"") == b""


def test_a_length_that_lies_hides_no_other_record(archive: Callable[..., Path], record: Callable[..., bytes]) -> None:
    first, second = (gzip.decompress(record(f"https://a.org/{number}", PAGE)) for number in range(2))
    longer = first.replace(b"Content-Length: ", b"Content-Length: 9", 1)
    found = list(read_archive(archive("a.warc", longer + second), Read()))
    assert [each.reason if isinstance(each, RefusedRecord) else each.url for each in found] == [
        "cut record",
        "https://a.org/1",
    ]


def test_the_name_of_the_protocol_has_no_case(archive: Callable[..., Path], record: Callable[..., bytes]) -> None:
    made = record("https://a.org/x", http=b"http/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n" + PAGE)
    (page,) = read_archive(archive("a.warc.gz", made), Read())
    assert isinstance(page, RawPage)


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(b"", mtime=0) * 20_000),
        ("gzip", gzip.compress(b"a", mtime=0) * 20_000),
        ("zstd", zstandard.compress(b"") * 20_000),
        ("zstd", zstandard.compress(b"a") * 20_000),
    ],
)
def test_a_body_of_thousands_of_packed_streams_is_dropped_at_once(
    archive: Callable[..., Path], record: Callable[..., bytes], encoding: str, body: bytes
) -> None:
    hostile = record("https://a.org/x", body, f"{HTML}\r\nContent-Encoding: {encoding}")
    refused, last = read_archive(archive("a.warc.gz", hostile, record("https://a.org/y", PAGE)), Read())
    assert isinstance(refused, RefusedRecord)
    assert (refused.reason, refused.evidence) == (
        "broken compression",
        f"{encoding}: more than 256 streams, one behind the other",
    )
    assert isinstance(last, RawPage)


def raw(
    uri: bytes = b"https://a.org/x", date: bytes = b"2026-01-01", kind: bytes = b"response", size: bytes = b""
) -> bytes:
    """A record whose head is written byte by byte."""
    block = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + PAGE
    head = b"WARC/1.0\r\nWARC-Type: %s\r\nWARC-Date: %s\r\nWARC-Target-URI: %s\r\nContent-Length: %s\r\n\r\n"
    return gzip.compress(head % (kind, date, uri, size or b"%d" % len(block)) + block + b"\r\n\r\n", mtime=0)


@pytest.mark.parametrize(
    ("hostile", "reason"),
    [
        (raw(date=b"\xff\xfe\xed\xa0\x80"), None),
        (raw(uri=b"https://a.org/\xff\xed\xa0\x80"), None),
        (raw(uri=b"https://a.org/%ED%A0%80"), None),
        (raw(uri="https://💥.example/".encode()), None),
        (raw(uri=b"https://a.org:99999999/"), "bad address"),
        (raw(uri="https://a℀b.org/".encode()), "bad address"),
        (raw(uri=b"https://a.org/?" + b"&" * 1900), "bad address"),
        (raw(kind=b"\xff\xfe"), "unknown record"),
        (raw(kind=b"r" * 100_000), "damaged archive"),
        (raw(size=b"-5"), "no HTTP response"),
        (raw(size=b"many"), "no HTTP response"),
        (raw(size="²".encode()), "damaged archive"),
        (raw(size=b"1" + b"0" * 18), "cut record"),
        (raw(size=b"1" + b"0" * 30), "cut record"),
        (gzip.compress(b"hello\r\n\r\n", mtime=0), "damaged archive"),
        (gzip.compress(b"", mtime=0) * 1000, "damaged archive"),
        (gzip.compress(bytes(1 << 20), mtime=0), "damaged archive"),
        (b"\x1f\x8b\x08" * 1000, "damaged archive"),
        (bytes(1000), "damaged archive"),
        (raw()[:-30], "damaged archive"),
        (raw()[:-8] + bytes(8), "damaged archive"),
    ],
)
def test_what_stands_before_and_behind_a_hostile_record_is_read(
    archive: Callable[..., Path], record: Callable[..., bytes], hostile: bytes, reason: str | None
) -> None:
    path = archive("a.warc.gz", record("https://a.org/first", PAGE), hostile, record("https://a.org/last", PAGE))
    first, *found, last = read_archive(path, Read())
    assert isinstance(first, RawPage)
    assert isinstance(last, RawPage)
    assert last.address == "a.org/last"
    assert found
    if reason is not None:
        assert isinstance(found[0], RefusedRecord)
        assert found[0].reason == reason
    for each in found:
        (each.id + each.url).encode()


def test_words_that_begin_as_a_record_does_are_skipped_at_once(archive: Callable[..., Path]) -> None:
    refused, *rest = read_archive(archive("a.warc", b"WARC/1." * 100_000), Read())
    assert isinstance(refused, RefusedRecord)
    assert not rest
