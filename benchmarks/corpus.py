"""Builds a corpus of a crawl with known truth, and measures it: pages found, copies, contamination, speed, kills.

    python benchmarks/corpus.py [--data FOLDER] [--kills 20] [--workers 2]

FOLDER holds ``corpus`` (WARC shards, ``labels.tsv``, ``planted.tsv``, ``hostile*.warc.gz``), ``gsm8k`` and ``cmath``.
The seed is the labelled pages of two sources; every prefix whose labelled pages agree is annotated by them, as a person
would. Pages of the seed are counted in recall and precision, and left out of the AUC. Writes benchmarks/corpus.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy
from pyarrow import parquet

from groupwise.corpus.addresses import normal_form, prefixes
from groupwise.corpus.annotations import write_annotations
from groupwise.corpus.archives import RawPage, read_archive
from groupwise.corpus.duplicates import MinHash
from groupwise.corpus.extraction import Extract, text_of
from groupwise.corpus.http_messages import Read
from groupwise.corpus.linear import Linear
from groupwise.corpus.unique import Pages

HERE = Path(__file__).resolve().parent
SEED_SOURCES = ("openstax/prealgebra-2e", "python-sympy-doc")
COMMAND = [sys.executable, "-m", "groupwise.cli", "corpus", "build"]


def table(path: Path) -> list[dict[str, str]]:
    """The rows of a file of tabs."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


def prepare(data: Path, here: Path) -> tuple[list[str], dict[str, str]]:
    """Writes seed and annotations; returns the seed's addresses, and the label of every labelled address."""
    rows = table(data / "corpus" / "labels.tsv")
    labels = {normal_form(row["url"]): row["label"] for row in rows}
    seed = [row["url"] for row in rows if row["label"] == "mathematics" and row["source"] in SEED_SOURCES]
    seed = [url for url in seed if ".example" not in url]
    (here / "seed.txt").write_text("".join(f"{url}\n" for url in seed))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for address, label in labels.items():
        if label != "ambiguous":
            for prefix in prefixes(address):
                counts[prefix][label] += 1
    said: dict[str, str] = {}
    for prefix, count in sorted(counts.items()):
        total = sum(count.values())
        verdict = "wanted" if count["mathematics"] >= 0.9 * total else "other" if count["other"] == total else ""
        if total >= 3 and verdict and not any(prefix.startswith(f"{shorter}/") for shorter in said):
            said[prefix] = verdict
    write_annotations(here / "annotations.toml", {}, said)
    return [normal_form(url) for url in seed], labels


class Watched(threading.Thread):
    """Looks at a process and all below it: most memory at one time, and seconds of processors."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, threading.Event()
        self.seconds: dict[int, float] = {}

    def run(self) -> None:
        page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        while not self.over.wait(0.2):
            memory = 0
            for pid in below(self.pid):
                try:
                    stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    memory += int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page
                except (OSError, IndexError):
                    continue
                self.seconds[pid] = (int(stat[11]) + int(stat[12])) / tick
            self.peak = max(self.peak, memory)


def below(pid: int) -> list[int]:
    """A process and all that descend from it."""
    found = [pid]
    for each in found:
        for path in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += [int(word) for word in path.read_text().split()]
            except OSError:
                continue
    return found


def built(command: list[str]) -> dict[str, float]:
    """Runs a build to its end; returns its seconds and memory. Raises where it fails."""
    start = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    watched = Watched(process.pid)
    watched.start()
    said, _ = process.communicate()
    watched.over.set()
    watched.join()
    if process.returncode:
        raise RuntimeError(said)
    print(said)
    seconds = time.monotonic() - start
    return {"seconds": seconds, "cpu_seconds": sum(watched.seconds.values()), "peak_gigabytes": watched.peak / 1e9}


def auc(scores: numpy.ndarray, truth: numpy.ndarray) -> float:
    """The probability that a wanted page has a higher score than another."""
    ranks = numpy.argsort(numpy.argsort(scores)) + 1
    wanted = int(truth.sum())
    return float((ranks[truth].sum() - wanted * (wanted + 1) / 2) / (wanted * (len(truth) - wanted)))


def judged(out: Path, seed: list[str], labels: dict[str, str]) -> dict[str, Any]:
    """Precision, recall and AUC by the labels, over unique pages."""
    names = sorted(path.stem for path in (out / "pages").glob("*.json"))
    pages = Pages.read(out, names)
    known = numpy.array([labels.get(address) in ("mathematics", "other") for address in pages.addresses])
    truth = numpy.array([labels.get(address) == "mathematics" for address in pages.addresses])
    fresh = known & ~numpy.isin(pages.addresses, seed)
    books = fresh & (numpy.array(pages.domains) == "openstax.org")
    chosen = numpy.concatenate([numpy.load(out / "chosen" / f"{name}.npy")["iteration"] for name in names])
    rounds = []
    for number, row in enumerate(json.loads((out / "manifest.json").read_text())["rounds"], 1):
        scores = numpy.concatenate(
            [numpy.load(out / f"iteration-{number}" / "scores" / f"{name}.npy") for name in names]
        )
        rounds.append(
            {**row, "auc": auc(scores[fresh], truth[fresh]), "auc_openstax": auc(scores[books], truth[books])}
        )
    kept = (chosen > 0) & known
    return {
        "precision": float((kept & truth).sum() / kept.sum()),
        "recall": float((kept & truth).sum() / (known & truth).sum()),
        "labelled_unique_pages": int(known.sum()),
        "rounds": rounds,
    }


def planted(out: Path, data: Path) -> dict[str, Any]:
    """What became of what is planted: copies by kind and resemblance, contamination, false alarms."""
    dropped: dict[str, list[dict[str, str]]] = defaultdict(list)
    for path in (out / "dropped").glob("*.parquet"):
        for row in parquet.read_table(path).to_pylist():
            dropped[row["url"]].append(row)
    copies = {url for url, rows in dropped.items() if any(row["stage"] == "unique" for row in rows)}
    dirty = {url for url, rows in dropped.items() if any(row["stage"] == "decontaminate" for row in rows)}
    texts = {}
    for path in (out / "corpus").glob("*.parquet"):
        texts |= dict.fromkeys(parquet.read_table(path, columns=["url"])["url"].to_pylist())
    seen: dict[str, list[bool]] = defaultdict(list)
    for row in table(data / "corpus" / "planted.tsv"):
        kind, url = row["kind"], row["url"]
        if kind in ("url-variant", "exact-copy"):
            seen[kind].append(url in copies or row["of"] in copies)
        elif kind == "near-copy":
            like = float(row["measure"])
            band = (
                "0.9 and more"
                if like >= 0.9
                else "0.75 to 0.9"
                if like >= 0.75
                else "less than 0.7"
                if like < 0.7
                else ""
            )
            seen[f"near-copy, {band}"].append(url in copies or row["of"] in copies)
        elif kind in ("gsm8k", "cmath") and (url in dirty or url in texts):
            seen[f"{kind} among collected"].append(url in dirty)
        elif kind == "bait" and (url in dirty or url in texts):
            seen["bait flagged"].append(url in dirty)
        elif kind == "url-bait":
            seen["url-bait dropped as copy"].append(url in copies)
    return {kind: {"of": len(found), "found": sum(found)} for kind, found in sorted(seen.items())}


def speeds(data: Path, out: Path) -> dict[str, float]:
    """Pages a second of one processor, by its own time: extraction, signatures, scores."""
    raw = [
        page
        for path in sorted((data / "corpus").glob("crawl-*.warc.gz"))
        for page in read_archive(path, Read())
        if isinstance(page, RawPage)
    ]
    start = time.process_time()
    texts = [text_of(page.body, page.charset, Extract()).text for page in raw]
    extraction = len(raw) / (time.process_time() - start)
    start = time.process_time()
    MinHash().signatures(texts)
    signatures = len(raw) / (time.process_time() - start)
    start = time.process_time()
    Linear().scores(out / "iteration-1" / "classifier.bin", Linear().read(texts))
    return {
        "extraction": extraction,
        "signatures": signatures,
        "scores": len(raw) / (time.process_time() - start),
        "megabytes_a_page": sum(len(page.body) for page in raw) / len(raw) / 1e6,
    }


def formulas(data: Path) -> dict[str, int]:
    """Formulas of the crawl: seen in the markup, written as LaTeX, and there in the text of the main content."""
    found: Counter[str] = Counter()
    for path in sorted((data / "corpus").glob("crawl-*.warc.gz")):
        for page in read_archive(path, Read()):
            if isinstance(page, RawPage):
                text = text_of(page.body, page.charset, Extract())
                there = len(re.findall(r"\$[^$]+\$", text.text))
                found.update(seen=text.seen, kept=text.kept, in_the_text=min(there, text.kept))
    return dict(found)


def hostile(data: Path, here: Path) -> dict[str, Any]:
    """What became of attacks and broken archives: counts of the stages that read."""
    (here / "hostile.txt").write_text("https://hostile.example/last.html\n")
    files = sorted(map(str, (data / "corpus").glob("hostile*.warc.gz")))
    command = [*COMMAND, "--crawl", *files, "--seed", str(here / "hostile.txt"), "--out", str(here / "hostile")]
    built([*command, "--executor", "local:1"])
    counts = json.loads((here / "hostile" / "manifest.json").read_text())["counts"]
    return {stage: counts[stage] for stage in ("read", "extract", "quality")}


def workers(command: list[str], here: Path, archives: list[str]) -> dict[str, Any]:
    """Seconds until the crawl is read, from the start of the command, with one worker and with two: of the crawl as it
    is, and of every archive four times under other names, where the start of the command counts for little."""
    many = here / "many"
    many.mkdir()
    for number in range(4):
        for archive in archives:
            shutil.copyfile(archive, many / f"{number}-{Path(archive).name}")
    found: dict[str, Any] = {}
    for name, crawl in (("crawl", archives), ("crawl, four times", [str(many)])):
        seconds = {1: [], 2: []}  # type: dict[int, list[float]]
        for count in (1, 2, 2, 1):
            words = ["--crawl", *crawl, *command, "--executor", f"local:{count}", "--out", str(here / "workers")]
            start = time.monotonic()
            process = subprocess.Popen([*COMMAND, *words], stdout=subprocess.PIPE, start_new_session=True)
            assert process.stdout is not None
            process.stdout.readline()  # read: ...
            seconds[count].append(time.monotonic() - start)
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            shutil.rmtree(here / "workers")
        ratio = sum(seconds[1]) / sum(seconds[2])
        found[name] = {"one": seconds[1], "two": seconds[2], "ratio": ratio}
    return found


def killed(command: list[str], here: Path, times: int, hashes: dict[str, str]) -> dict[str, Any]:
    """Ends builds with all their processes at random moments and gives the same command again, each to its end, until
    so many were ended; compares the bytes of each."""
    draw = random.Random(0)
    kills: list[int] = []
    same = True
    while sum(kills) < times:
        out = here / f"killed-{len(kills)}"
        kills.append(0)
        while True:
            process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL, start_new_session=True)
            try:
                process.wait(timeout=draw.uniform(0.5, 10.0) if sum(kills) < times else None)
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills[-1] += 1
        if process.returncode:
            raise RuntimeError(f"a build that was ended {kills[-1]} times ended by itself with {process.returncode}")
        same = same and json.loads((out / "manifest.json").read_text())["files"] == hashes
        shutil.rmtree(out)
    return {"kills": sum(kills), "builds": len(kills), "same_bytes": same}


def main() -> None:
    """Measures, prints and writes."""
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    known.add_argument("--kills", type=int, default=20)
    known.add_argument("--parts", nargs="*", default=[], help="measure these beside the build, and keep the others")
    known.add_argument("--workers", type=int, default=2)
    chosen = known.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        seed, labels = prepare(chosen.data, here)
        archives = sorted(map(str, (chosen.data / "corpus").glob("crawl-*.warc.gz")))
        command = [
            *COMMAND, "--crawl", *archives, "--seed", str(here / "seed.txt"), "--annotations",
            str(here / "annotations.toml"), "--against", "gsm8k", "cmath", "--benchmarks", str(chosen.data),
        ]  # fmt: skip
        two = ["--executor", f"local:{chosen.workers}"]
        found: dict[str, Any] = {"seed_pages": len(seed)}
        found["build"] = built([*command, *two, "--out", str(here / "out")])
        manifest = json.loads((here / "out" / "manifest.json").read_text())
        found |= judged(here / "out", seed, labels)
        found["planted"] = planted(here / "out", chosen.data)
        found["counts"], found["versions"] = manifest["counts"], manifest["versions"]
        parts = {
            "pages_a_second": lambda: speeds(chosen.data, here / "out"),
            "formulas": lambda: formulas(chosen.data),
            "hostile": lambda: hostile(chosen.data, here),
            "reading_seconds_by_workers": lambda: workers(command[len(COMMAND) + 1 + len(archives) :], here, archives),
            "killed": lambda: killed([*command, *two], here, chosen.kills, manifest["files"]),
        }
        found |= {name: measure() for name, measure in parts.items() if name in (chosen.parts or parts)}
    found |= {"machine": f"{os.cpu_count()} processors, {platform.machine()}", "load": os.getloadavg()[0]}
    path = HERE / "corpus.json"
    before = json.loads(path.read_text()) if chosen.parts and path.exists() else {}
    text = json.dumps(before | found, indent=1) + "\n"
    path.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
