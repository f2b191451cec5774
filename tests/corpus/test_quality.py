"""What is no text is dropped by name, whatever language text is in."""

from __future__ import annotations

import random

import pytest

from groupwise.corpus.extraction import Extract, Text, text_of
from groupwise.corpus.reading import Quality

BYTES = random.Random(3).randbytes(20_000)
LANGUAGES = [
    "L'élève a été forcé d'énumérer les théorèmes où l'égalité n'était pas vérifiée. " * 4,
    "Þetta er íslenskur texti um stærðfræði, þar sem jöfnur eru leystar á þægilegan hátt. " * 4,
    "Phương trình bậc hai có hai nghiệm phân biệt khi biệt thức là một số dương. " * 4,
    "Für große Zahlen gilt häufig, dass übliche Größen öfter über- als unterschätzt würden. " * 4,
    "一个长方形的长是五厘米，宽是三厘米，它的面积是多少平方厘米？" * 12,
    "Квадратное уравнение имеет два корня, если дискриминант положителен. " * 4,
]


@pytest.mark.parametrize("text", LANGUAGES)
def test_every_language_is_text(text: str) -> None:
    assert Quality(repeated=1.0).refusal(Text(text)) is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (BYTES, "garbled"),
        (bytes(letter | 128 for letter in BYTES), "garbled"),
        ("数学题".encode()[:-1] * 300, "garbled"),
        (b"a" * 20_000, "no words"),
        (b"<" * 20_000, "no words"),
        (b"<p>the same line again</p>" * 500, "repeated"),
        (b"<p>short", "short"),
    ],
)
def test_what_is_no_text_has_a_name(body: bytes, reason: str) -> None:
    refused = Quality().refusal(text_of(body, "", Extract()))
    assert refused is not None
    assert refused[0] == reason


def test_an_encoding_that_could_not_have_been_read_is_not_believed() -> None:
    words = b"<p>" + b"words of an ordinary page " * 20
    for lie in ("utf-16", "utf-32"):
        assert text_of(words, lie, Extract()).text.startswith("words of an ordinary page")
        assert "words of" in text_of(b'<meta charset="utf-16">' + words, "", Extract()).text
        assert "words of" in text_of(words + b"\xe9", lie, Extract()).text
