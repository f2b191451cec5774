"""This module holds what a corpus is made by: one value, a field for each stage, and the presets."""

from __future__ import annotations

from dataclasses import dataclass, field

from groupwise.corpus.classifier import FastText
from groupwise.corpus.decontamination import NGrams
from groupwise.corpus.domains import Domains
from groupwise.corpus.duplicates import MinHash
from groupwise.corpus.extraction import Extract
from groupwise.corpus.http_messages import Read
from groupwise.corpus.linear import Linear
from groupwise.corpus.reading import Quality
from groupwise.corpus.rounds import Recall


@dataclass(frozen=True)
class Corpus:
    """This value says how a corpus is made of a crawl. Each stage is a value of its own."""

    read: Read = field(default_factory=Read)
    extract: Extract = field(default_factory=Extract)
    quality: Quality = field(default_factory=Quality)
    minhash: MinHash = field(default_factory=MinHash)
    classifier: Linear | FastText = field(default_factory=Linear)
    recall: Recall = field(default_factory=Recall)
    domains: Domains = field(default_factory=Domains)
    decontaminate: NGrams = field(default_factory=NGrams)


deepseekmath = Corpus()
"""DeepSeekMath's loop (arXiv 2402.03300, section 2.1) with a classifier that also learns of a few pages of one source:
logistic regression in place of fastText."""

deepseekmath_fasttext = Corpus(classifier=FastText(), recall=Recall(learn=False))
"""The same with fastText, at settings for some hundred pages. Of pages that it collected itself it would learn its own
mistakes."""

deepseekmath_published = Corpus(
    classifier=FastText(
        dimension=256, rate=0.1, words=3, least=3, epochs=3, updates=0, segment=0, negatives=1.0, buckets=2_000_000
    ),
    recall=Recall(iterations=4, learn=False),
)
"""The same with the published settings of fastText, which are for 500,000 pages of each kind."""

openwebmath = Corpus(
    quality=Quality(languages=("en",), commands=True),
    classifier=Linear(formulas=False),
    recall=Recall(iterations=1),
)
"""OpenWebMath's (arXiv 2310.06786): English pages with LaTeX in them, scored by the words around it, in one round."""

PRESETS = {
    "deepseekmath": deepseekmath,
    "deepseekmath_fasttext": deepseekmath_fasttext,
    "deepseekmath_published": deepseekmath_published,
    "openwebmath": openwebmath,
}
