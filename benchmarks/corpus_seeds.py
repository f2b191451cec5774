"""Collects pages of a crawl with known truth from seeds of every kind, without any answer of a person.

    python benchmarks/corpus_seeds.py [--data FOLDER]

FOLDER holds ``corpus`` (WARC shards and ``labels.tsv``). The labelled pages are cut in two halves by a hash of their
addresses: seeds are drawn from one, and precision and recall are of the other. Each seed is given twice: with rounds
that learn of what was collected, and without. Writes benchmarks/corpus_seeds.json.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import random
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy

from groupwise.corpus.addresses import normal_form
from groupwise.corpus.build import Build
from groupwise.corpus.engine import Executor
from groupwise.corpus.inputs import find_archives
from groupwise.corpus.seeds import Seed
from groupwise.corpus.settings import deepseekmath
from groupwise.corpus.unique import Pages

HERE = Path(__file__).resolve().parent
LABELS = ("mathematics", "other")


def halves(data: Path) -> tuple[dict[str, tuple[str, str]], dict[str, str]]:
    """Label and source of the pages that seeds are drawn from, and the labels of those that judge, by address."""
    seeds: dict[str, tuple[str, str]] = {}
    judges: dict[str, str] = {}
    with (data / "corpus" / "labels.tsv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            address = normal_form(row["url"])
            if row["label"] not in LABELS or ".example" in address:
                continue
            if hashlib.blake2b(address.encode(), digest_size=1).digest()[0] % 2:
                judges[address] = row["label"]
            else:
                seeds[address] = row["label"], row["source"]
    return seeds, judges


def kinds_of_seed(known: Mapping[str, tuple[str, str]]) -> dict[str, list[str]]:
    """Seeds by their kind: one source each, books, manuals, a few pages of all, and pages of which most are other."""
    ours = sorted(address for address, (label, _) in known.items() if label == "mathematics")
    draw = random.Random(0)
    kinds = {
        f"one source: {source.rpartition('/')[2]}": [each for each in ours if known[each][1] == source]
        for source in sorted({known[each][1] for each in ours})
    }
    kinds["all books"] = [each for each in ours if "openstax" in known[each][1]]
    kinds["all manuals"] = [each for each in ours if "openstax" not in known[each][1]]
    kinds["20 pages of all sources"] = draw.sample(ours, 20)
    kinds["5 pages of all sources"] = draw.sample(ours, 5)
    kinds["20 pages of any label"] = draw.sample(sorted(known), 20)
    return kinds


def judged(build: Build, judges: Mapping[str, str]) -> dict[str, Any]:
    """Collects with a seed; rounds, precision and recall by the labels of the other half."""
    rounds = build.run()["rounds"]
    pages = Pages.read(build.directory, build.names)
    chosen = [numpy.load(build.directory / "chosen" / f"{name}.npy")["iteration"] for name in build.names]
    kept = numpy.concatenate(chosen) > 0
    labels = [judges.get(address, "") for address in pages.addresses]
    known, wanted = (numpy.array([label in names for label in labels]) for names in (LABELS, LABELS[:1]))
    right = int((kept & wanted).sum())
    return {
        "rounds": len(rounds),
        "seed": rounds[0]["seed"],
        "precision": right / max(int((kept & known).sum()), 1),
        "recall": right / int(wanted.sum()),
    }


def main() -> None:
    """Measures, prints and writes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    data = options.parse_args().data
    seeds, judges = halves(data)
    archives = find_archives(sorted(map(str, (data / "corpus").glob("crawl-*.warc.gz"))))
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind, addresses in kinds_of_seed(seeds).items():
            found[kind] = {}
            for name, learn in (("with what was collected", True), ("without", False)):
                corpus = replace(deepseekmath, recall=replace(deepseekmath.recall, learn=learn))
                seed = Seed(frozenset(addresses))
                build = Build(
                    Path(folder), corpus, archives, seed, executor=Executor("local", 1), tell=lambda line: None
                )
                found[kind][name] = judged(build, judges)
            print(kind, json.dumps(found[kind]), flush=True)
    text = json.dumps({"judging pages": len(judges), "seeds": found}, indent=1) + "\n"
    (HERE / "corpus_seeds.json").write_text(text)


if __name__ == "__main__":
    main()
