"""The texts of benchmarks/pretraining.py, out of a folder of real pages and benchmarks: each a jsonl file of documents.

Pages are read with fastwarc and resiliparse, once with their formulas as LaTeX and once without any. ``selected`` are
drawn from those that a fastText classifier, trained on a hundred pages of two sites against pages drawn from the crawl,
ranks first, ``SHARE`` of the crawl's letters; ``random`` are drawn from the whole crawl. Pages that measure
(``unseen``) were taken out before either.
"""

from __future__ import annotations

import gzip
import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from urllib.parse import urlsplit

from groupwise.corpus.classifier import FastText

SEED_PAGES = {"openstax.org/books/prealgebra-2e": 60, "docs.sympy.org": 40}
UNSEEN = 60  # pages of mathematics that only measure
MATHEMATICS = re.compile(rb"<math\b.*?</math>", re.DOTALL)
INLINE = re.compile(rb"\\\(.*?\\\)|\\\[.*?\\\]|\$\$.*?\$\$", re.DOTALL)
SHARE = 0.17  # of the crawl's letters is collected
LETTERS = 3000  # of a page are read, so that there are many


@dataclass(frozen=True)
class Page:
    """A page of the crawl as text, with its formulas and without."""

    url: str
    text: str
    bare: str


def pages(folder: Path) -> list[Page]:
    """Every page of the shards that can be read, in the order of their addresses."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    found = {}
    for shard in sorted(folder.glob("crawl-*.warc.gz")):
        for record in ArchiveIterator(shard.open("rb"), record_types=WarcRecordType.response, auto_decode="transfer"):
            url, headers = record.headers.get("WARC-Target-URI"), record.http_headers
            body = record.reader.read()
            if headers is None or headers.status_code != 200 or "html" not in str(record.http_content_type or "html"):
                continue
            try:
                body = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
            except (OSError, EOFError):
                continue
            page = _page(str(url), body)
            if len(page.text) >= 400:
                found[page.url] = page
    return [found[url] for url in sorted(found)]


def _page(url: str, body: bytes) -> Page:
    bare = INLINE.sub(b" ", MATHEMATICS.sub(b" ", body))
    return Page(url, _text(MATHEMATICS.sub(_latex, body)), _text(bare))


def _latex(match: re.Match[bytes]) -> bytes:
    from mathml_to_latex.converter import MathMLToLaTeX

    try:
        source = re.sub(r"&(?!amp;|lt;|gt;|#)\w+;", " ", match[0].decode("utf-8", "replace"))
        latex = MathMLToLaTeX().convert(re.sub(r"<(/?)m:", r"<\1", source))
    except Exception:  # of other people's formulas some are broken
        return b" "
    return f" ${latex}$ ".replace("<", "&lt;").encode()


def _text(body: bytes) -> str:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    html = bytes_to_str(body, detect_encoding(body))
    return str(extract_plain_text(html, main_content=True, preserve_formatting=False))


def selected(everything: Sequence[Page], random: Random) -> list[Page]:
    """The pages that a classifier ranks first, as many as have ``SHARE`` of the letters, in random order."""
    seed: list[Page] = []
    for place, count in SEED_PAGES.items():
        here = [page for page in everything if place in page.url]
        seed += random.sample(here, min(count, len(here)))
    taken = {page.url for page in seed}
    others = random.sample([page for page in everything if page.url not in taken], 5 * len(seed))
    classifier = FastText()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "classifier.bin"
        wanted, random_ones = (classifier.read(page.text for page in pages) for pages in (seed, others))
        classifier.train(wanted, random_ones, path)
        scores = classifier.scores(path, classifier.read(page.text for page in everything))
    order = sorted(range(len(everything)), key=lambda place: -float(scores[place]))
    found, left = [], SHARE * sum(len(page.text) for page in everything)
    for page in (everything[place] for place in order):
        if left <= 0:
            break
        found, left = [*found, page], left - len(page.text)
    return random.sample(found, len(found))


def enough(texts: Sequence[str], size: int) -> list[str]:
    """As many of the texts, in order, as have ``size`` bytes; the last one is cut there."""
    found, left = [], size
    for text in texts:
        part = text.encode()[:left].decode("utf-8", "ignore")
        found, left = [*found, part], left - len(part.encode())
        if left <= 0:
            break
    return found


def write_texts(data: Path, place: Path, size: int) -> dict[str, int]:
    """Writes the files, each of ``size`` bytes but those that measure, and returns how many documents each has."""
    random, crawl = Random(7), pages(data / "corpus")
    labels = dict(line.split("\t")[:2] for line in (data / "corpus" / "labels.tsv").read_text().splitlines()[1:])
    mathematics = [page for page in crawl if labels.get(page.url) == "mathematics"]
    unseen = random.sample([page for page in mathematics if not _is_seed(page)], UNSEEN)
    hidden = {page.url for page in unseen}
    left = [page for page in crawl if page.url not in hidden]
    best = selected(left, random)
    drawn = random.sample(left, len(left))
    prose = [page for page in drawn if "openstax.org" in page.url and labels.get(page.url) == "other"]
    problems = [row["question"] for row in _rows(data / "cmath" / "test.jsonl")]
    random.shuffle(problems)
    chinese, asked = problems[:900], problems[900:]
    files = {
        "selected": enough([page.text[:LETTERS] for page in best], size),
        "bare": enough([page.bare[:LETTERS] for page in best], size),
        "random": enough([page.text[:LETTERS] for page in drawn], size),
        "code": enough(random.sample(code := _programs(data), len(code)), size),
        "prose": enough([page.text[:LETTERS] for page in prose], size),
        "chinese": enough(chinese, size),
        "unseen": [page.text[1000:2500] for page in unseen],
        "chinese_unseen": asked,
        "one": [unseen[0].text[1000:2500]],
    }
    place.mkdir(parents=True, exist_ok=True)
    for name, texts in files.items():
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in texts if text.strip()]
        (place / f"{name}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    top = [page for page in best[: len(files["selected"])] if page.url in labels]
    right = sum(labels[page.url] == "mathematics" for page in top)
    return {name: len(texts) for name, texts in files.items()} | {"selected_right": right, "selected_known": len(top)}


def _is_seed(page: Page) -> bool:
    where = urlsplit(page.url)
    return any((where.netloc + where.path).startswith(site) for site in SEED_PAGES)


def _programs(data: Path) -> list[str]:
    problems = [f"# {row['text']}\n{row['code']}" for row in _rows(data / "code" / "mbpp.jsonl")]
    rows = _rows(data / "code" / "humaneval-python.jsonl")
    return problems + [row["prompt"] + row["canonical_solution"] for row in rows]


def _rows(path: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
