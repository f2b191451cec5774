"""A whole build, out of archives made by hand: counts add up, the same command goes on, and the bytes are the same."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise.cli import main
from groupwise.corpus.annotations import Annotations
from groupwise.corpus.build import Build, file_hash
from groupwise.corpus.classifier import FastText
from groupwise.corpus.decontamination import NGrams
from groupwise.corpus.engine import Executor
from groupwise.corpus.inputs import find_archives
from groupwise.corpus.looking import Choice, counts, pages
from groupwise.corpus.rounds import Recall
from groupwise.corpus.seeds import Seed
from groupwise.corpus.settings import Corpus
from groupwise.corpus.shards import STAGE_ORDER

DRAW = random.Random(3)
MATHS = [
    "sum",
    "angle",
    "root",
    "prime",
    "number",
    "square",
    "triangle",
    "proof",
    "lemma",
    "integer",
    "graph",
    "matrix",
    "vector",
    "field",
    "ring",
    "group",
]
STORY = [
    "king",
    "war",
    "people",
    "river",
    "city",
    "ship",
    "queen",
    "letter",
    "market",
    "horse",
    "winter",
    "church",
    "soldier",
    "tax",
    "harbour",
    "garden",
]
QUESTION = "Natalia sold clips to 48 of her friends in April and then she sold half as many clips in May of that year"


def words(vocabulary: list[str], count: int = 120) -> str:
    return " ".join(DRAW.choice(vocabulary) for _ in range(count))


def html(text: str) -> bytes:
    return f"<html><body><main><p>{text}</p></main></body></html>".encode()


@pytest.fixture
def crawl(archive: Callable[..., Path], record: Callable[..., bytes], tmp_path: Path) -> Path:
    """Two archives: 16 pages of mathematics on two domains, 24 others, copies, a contaminated page, and no pages."""
    maths = [(f"https://sums.org/book/{n}.html", f"{words(MATHS)} and $x^2$") for n in range(8)]
    maths += [(f"https://proofs.net/page/{n}.html", words(MATHS)) for n in range(8)]
    other = [(f"https://tales.org/old/{n}.html", words(STORY)) for n in range(24)]
    first, second = [*maths[::2], *other[::2]], [*maths[1::2], *other[1::2]]
    second += [
        ("http://SUMS.org/book/0.html?utm_source=x", maths[0][1]),
        ("https://copies.example/1", maths[2][1]),
        ("https://sums.org/book/dirty.html", f"{words(MATHS)} {QUESTION} {words(MATHS)}"),
    ]
    rows = [record(url, html(text)) for url, text in first]
    archive("crawl/a.warc.gz", *rows, record("https://sums.org/none", b"", status=404))
    archive("crawl/b.warc.gz", *(record(url, html(text)) for url, text in second), record("", html("x")))
    (tmp_path / "seed.txt").write_text("".join(f"https://sums.org/book/{n}.html\n" for n in range(6)))
    (tmp_path / "items.jsonl").write_text(json.dumps({"question": QUESTION, "answer": "72"}) + "\n")
    return tmp_path / "crawl"


def in_this_process(executor: Executor, work: Callable[[str], None], names: list[str], logs: Path) -> None:
    for name in names:
        work(name)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tasks run one after the other, without an executor."""
    monkeypatch.setattr("groupwise.corpus.build.run_each", in_this_process)


def build(crawl: Path, out: Path, **options: Any) -> Build:
    corpus = Corpus(
        classifier=FastText(dimension=8, buckets=1000, least=1, epochs=10),
        recall=Recall(iterations=4, learn=False),
        decontaminate=NGrams((str(crawl.parent / "items.jsonl"),)),
    )
    seed = Seed(frozenset(f"sums.org/book/{n}.html" for n in range(6)))
    said = Annotations({"proofs.net/page": "wanted", "tales.org": "other"})
    made = Build(out, corpus, find_archives([str(crawl)]), seed, said, Executor("local", 1), lambda line: None)
    return replace(made, **options)


def contents(out: Path) -> dict[str, str]:
    files = [*(out / "corpus").glob("*.parquet"), *(out / "dropped").glob("*.parquet"), out / "manifest.json"]
    return {path.name: file_hash(path) for path in files}


@pytest.mark.usefixtures("quick")
def test_a_build_keeps_what_is_wanted_and_says_what_became_of_the_rest(crawl: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    manifest = build(crawl, out).run()
    found = manifest["counts"]
    assert list(found) == list(STAGE_ORDER)
    assert found["read"] == {"in": 45, "kept": 43, "dropped": {"no address": 1, "status 4xx": 1}}
    assert found["unique"]["dropped"] == {"address": 1, "exact copy": 1}
    assert found["decontaminate"]["dropped"] == {"benchmark": 1}
    for before, after in itertools.pairwise(STAGE_ORDER):
        assert found[before]["kept"] == found[after]["in"]
        assert found[after]["in"] == found[after]["kept"] + sum(found[after]["dropped"].values())
    rows = {page["url"]: page for page in pages(out, Choice())}
    kept = sorted(url for url, page in rows.items() if page["stage"] == "kept")
    assert sum("sums.org" in url or "proofs.net" in url for url in kept) == 16
    assert len(kept) == 16
    assert len(rows) == 45
    assert "natalia sold clips" in rows["https://sums.org/book/dirty.html"]["evidence"]
    assert rows["https://copies.example/1"]["evidence"] == "of https://sums.org/book/2.html"
    assert rows["http://SUMS.org/book/0.html?utm_source=x"]["evidence"].startswith("of https://sums.org/book/0.html")
    assert "$x^2$" in rows["https://sums.org/book/0.html"]["text"]
    assert sum(count for _, _, count in counts(out)) == 45
    before = contents(out)
    times = {path: path.stat().st_mtime_ns for path in (out / "corpus").iterdir()}
    build(crawl, out).run()
    assert contents(out) == before
    assert times == {path: path.stat().st_mtime_ns for path in (out / "corpus").iterdir()}, "nothing was made again"
    build(crawl, out, annotations=Annotations({})).run()
    assert contents(out) != before
    build(crawl, out).run()
    assert contents(out) == before, "a build depends on its inputs, not on what was before"


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.usefixtures("quick")
def test_what_was_collected_finds_more_without_any_answer(
    archive: Callable[..., Path], record: Callable[..., bytes], tmp_path: Path, learn: bool
) -> None:
    """A book speaks as the seed does and as a manual does; the manual and the seed have nothing in common."""
    words_of = {place: [f"{place}{letter}" for letter in "abcdefghij"] for place in ("seed", "manual", "tale", "map")}
    places = {"seed": ["seed"], "book": ["seed", "manual"], "manual": ["manual"], "tale": ["tale"], "map": ["map"]}
    common = ["the", "of", "and", "is", "in", "to"]
    rows = []
    for name, spoken in places.items():
        vocabulary = [*common * 5, *(word for each in spoken for word in words_of[each])]
        rows += [
            record(f"https://{name}.org/{number}", html(words(vocabulary)))
            for number in range(60 if name in ("tale", "map") else 8)
        ]
    archive("crawl/a.warc.gz", *rows)
    corpus = Corpus(recall=Recall(learn=learn))
    seed = Seed(frozenset(f"seed.org/{number}" for number in range(4)))
    said: list[str] = []
    made = Build(tmp_path / "out", corpus, find_archives([str(tmp_path / "crawl")]), seed, tell=said.append)
    made.run()
    kept = {page["domain"] for page in pages(tmp_path / "out", Choice()) if page["stage"] == "kept"}
    assert kept == {"seed.org", "book.org", *(["manual.org"] if learn else [])}, said


@pytest.mark.usefixtures("quick")
def test_a_build_that_is_ended_anywhere_goes_on_to_the_same_bytes(
    crawl: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(crawl, tmp_path / "whole").run()
    whole, real, left = contents(tmp_path / "whole"), os.replace, [0]

    def stop(*paths: Any) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt
        real(*paths)

    ended = 0
    for moment in (2, 9, 3, 12, 8):
        left[0] = moment
        monkeypatch.setattr(os, "replace", stop)
        try:
            build(crawl, tmp_path / "ended").run()
        except KeyboardInterrupt:
            ended += 1
        monkeypatch.setattr(os, "replace", real)
    build(crawl, tmp_path / "ended").run()
    assert ended >= 4
    assert contents(tmp_path / "ended") == whole


def test_the_command_killed_and_given_again_says_the_same(crawl: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "groupwise.cli", "corpus", "build", "--crawl", str(crawl), "--seed",
        str(tmp_path / "seed.txt"), "--against", str(tmp_path / "items.jsonl"), "--out", str(tmp_path / "out"),
        "--executor", "local:2", "--classifier.features", "1000",
    ]  # fmt: skip
    killed = subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True, text=True)
    until = time.monotonic() + 300
    while not (tmp_path / "out" / "iteration-1" / "classifier.json").exists() and time.monotonic() < until:
        assert killed.poll() is None
        time.sleep(0.01)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate()
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "decontaminate: " in done.stdout
    assert "45 in, 43 kept" in done.stdout
    again = subprocess.run([*command, "--recall.share", "0.5"], capture_output=True, text=True, timeout=600)
    assert again.returncode == 2
    assert "was built otherwise: recall.share 0.0, now 0.5" in again.stderr


@pytest.mark.usefixtures("quick")
def test_domains_and_look_read_what_a_build_wrote(
    crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    build(crawl, out, annotations=Annotations({})).run()
    (out / "settings.json").write_text("{}")
    assert main(["corpus", "domains", str(out)]) == 0
    said = capsys.readouterr().out
    assert "sums.org" in said
    assert (out / "annotations.toml").read_text().count('= ""') >= 1
    assert main(["corpus", "look", str(out), "--reason", "exact copy"]) == 0
    said = capsys.readouterr().out
    assert "https://copies.example/1" in said
    assert "of https://sums.org/book/2.html" in said
    assert "1 of 1 pages" in said
    assert main(["corpus", "look", str(out), "--kept", "--html", str(tmp_path / "seen.html")]) == 0
    assert "sums.org/book" in (tmp_path / "seen.html").read_text()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--crawl", "nowhere"], "no such file or folder"),
        (["--crawl", "empty"], "holds no archive"),
        (["--crawl", "seed.txt"], "expected a file that ends in"),
        (["--seed", "nowhere.txt"], "no such file"),
        (["--seed", "other.txt"], "none of its addresses is a page of this crawl"),
        (["--out", "seed.txt"], "a file; expected a directory"),
        (["--out", "crawl"], "and no corpus"),
        (["--executor", "cloud:3"], "expected local:N"),
        (["--annotations", "none.toml"], "no such file"),
        (["--against", "gms8k"], "perhaps you meant gsm8k"),
        (["--recall.shore", "0.5"], "recall.shore"),
        (["--recall.share", "2"], "recall.share"),
        (["--show", "2"], "unknown option --show"),
        (["openwebmaths"], "perhaps you meant openwebmath"),
        (["own.py"], "no such recipe file"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_mistakes_are_said_in_one_line(
    crawl: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    options: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.txt").write_text("https://else.org/1\n")
    given = {"--crawl": "crawl", "--seed": "seed.txt", "--out": "out"} | dict(
        zip(options[::2], options[1::2], strict=False)
    )
    first = [options[0]] if len(options) == 1 else []
    assert main(["corpus", "build", *first, *(word for pair in given.items() for word in pair)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
