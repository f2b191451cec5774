"""Disguises benchmark questions in many ways and counts which are found, and what innocent text is taken for one.

    python benchmarks/disguises.py [--data FOLDER] [--questions 60]

FOLDER holds ``gsm8k``, ``cmath`` and ``svamp``. Each way is tried on so many questions of GSM8K and of CMATH, drawn at
random with a fixed seed; those that it leaves as they are (numbers where there are none) are not counted. Writes
benchmarks/disguises.json.
"""

from __future__ import annotations

import argparse
import base64
import html
import json
import random
import re
import unicodedata
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

from groupwise.corpus.benchmarks import Item
from groupwise.corpus.decontamination import Index, NGrams
from groupwise.corpus.grams import ENGLISH_NUMBERS

HERE = Path(__file__).resolve().parent
NUMBER = re.compile(r"\d+")
SENTENCE = re.compile(r"(?<=[.?!])\s+|(?<=[。？！])")
CLAUSE = re.compile(r"(?<=[,.;?!])\s+|(?<=[，。；？！])")
NAME = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
UNITS = {"cm": "centimeters", "km": "kilometers", "kg": "kilograms", "hours": "hrs", "minutes": "min", "dollars": "USD"}
UNITS |= {"千米": "公里", "千克": "公斤", "米": "m", "厘米": "cm", "元": "块钱", "小时": "个钟头"}
SMALL = tuple(ENGLISH_NUMBERS.split()[:16])
CYRILLIC = str.maketrans("aceopxyABCEHKMOPTX", "асеорхуАВСЕНКМОРТХ")
GREEK = str.maketrans("ABEZHIKMNOPTYXo", "ΑΒΕΖΗΙΚΜΝΟΡΤΥΧο")
MATHEMATICAL = str.maketrans({chr(ord("a") + place): chr(0x1D41A + place) for place in range(26)})
CIRCLED = str.maketrans({chr(ord("a") + place): chr(0x24D0 + place) for place in range(26)})
FULL = str.maketrans({chr(code): chr(code + 0xFEE0) for code in range(0x21, 0x7F)})
ARABIC = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
DEVANAGARI = str.maketrans("0123456789", "०१२३४५६७८९")
CHINESE = str.maketrans("0123456789", "零一二三四五六七八九")
OCR = str.maketrans({"l": "1", "O": "0", "o": "0"})
AROUND = "The school was built on a hill above the river, and its library is open to whoever lives in the village. "
Way = Callable[[str, random.Random], str]


def words(text: str) -> list[str]:
    """Words; of a text that puts no spaces between them, characters."""
    return text.split() if text.isascii() or " " in text.strip() else list(text)


def apart(text: str, mark: str) -> str:
    """The words with a mark between them."""
    return mark.join(words(text))


def renumbered(text: str, draw: random.Random) -> str:
    """Every number is another of as many digits."""
    return NUMBER.sub(lambda found: str(draw.randrange(10 ** (len(found[0]) - 1), 10 ** len(found[0]))), text)


def spelled(text: str, draw: random.Random) -> str:
    """Small numbers are words, others of Chinese characters."""
    if text.isascii():
        return NUMBER.sub(lambda found: SMALL[int(found[0])] if int(found[0]) < len(SMALL) else found[0], text)
    return text.translate(CHINESE)


def renamed(text: str, draw: random.Random) -> str:
    """Every name is another one, the same each time."""
    names = {name: draw.choice(("Zora", "Umar", "Ines", "Bjorn", "Kaito")) for name in set(NAME.findall(text))}
    for old, new in names.items():
        text = re.sub(rf"\b{old}\b", new, text)
    return text


def noisy(text: str, draw: random.Random, share: float = 0.02) -> str:
    """Some letters are read as others."""
    return "".join(draw.choice("aeioun") if each.isalpha() and draw.random() < share else each for each in text)


def replaced(text: str, every: int) -> str:
    """Every so many words one is left out."""
    return " ".join("thing" if place % every == every - 1 else word for place, word in enumerate(text.split()))


def shuffled(pattern: re.Pattern[str], text: str) -> str:
    """Sentences or clauses the other way round."""
    return " ".join(reversed([piece.strip() for piece in pattern.split(text) if piece.strip()]))


def respelled(text: str, draw: random.Random) -> str:
    """Units are written otherwise."""
    for old, new in UNITS.items():
        text = re.sub(rf"(?<![a-z]){old}(?![a-z])", new, text)
    return text


def wrapped(text: str, width: int, begin: str = "", end: str = "") -> str:
    """Lines of so many letters, with what begins and ends each."""
    lines, line = [], ""
    for word in words(text):
        line += ("" if not line else " " if text.isascii() else "") + word
        if len(line) >= width:
            lines.append(line)
            line = ""
    return "\n".join(f"{begin}{each}{end}" for each in (*lines, line) if each)


def numbered(text: str) -> str:
    """Lines with their numbers."""
    return "\n".join(f"{number:3d}  {line}" for number, line in enumerate(wrapped(text, 30).split("\n"), 1))


WAYS: dict[str, Way] = {
    "as it is": lambda text, draw: text,
    "upper case": lambda text, draw: text.upper(),
    "title case": lambda text, draw: text.title(),
    "lines of 30 letters": lambda text, draw: wrapped(text, 30),
    "without punctuation": lambda text, draw: re.sub(r"[^\w\s]", "", text),
    "no-break spaces": lambda text, draw: text.replace(" ", "\u00a0"),
    "curly quotes and dashes": lambda text, draw: text.replace("'", "’").replace('"', "”").replace("-", "–"),
    "entities": lambda text, draw: "".join(f"&#{ord(each)};" if not each.isalnum() else each for each in text),
    "entities twice": lambda text, draw: html.escape("".join(f"&#x{ord(each):x};" for each in text)),
    "full width": lambda text, draw: text.translate(FULL),
    "tags inside words": lambda text, draw: re.sub(r"(\w)(\w)", r"\1<b></b>\2", text),
    "a tag around each word": lambda text, draw: " ".join(f"<span>{each}</span>" for each in words(text)),
    "a cell for each word": lambda text, draw: f"<tr>{''.join(f'<td>{each}</td>' for each in words(text))}</tr>",
    "a list item for each word": lambda text, draw: "".join(f"<li>{each}</li>\n" for each in words(text)),
    "a link for each word": lambda text, draw: " ".join(f"[{each}](https://a.example/b)" for each in words(text)),
    "a table of Markdown": lambda text, draw: "| " + apart(text, " | ") + " |",
    "zero-width spaces": lambda text, draw: "\u200b".join(text),
    "soft hyphens": lambda text, draw: "\u00ad".join(text),
    "direction marks": lambda text, draw: "".join(f"\u202a{each}\u202c" for each in text),
    "hyphens at line ends": lambda text, draw: re.sub(r"(\w{3})(\w{3})", "\\1-\n\\2", text, count=6),
    "JSON": lambda text, draw: json.dumps({"q": text}),
    "JSON twice": lambda text, draw: json.dumps(json.dumps({"q": text})),
    "bold marks": lambda text, draw: " ".join(f"**{each}**" for each in words(text)),
    "emphasis inside words": lambda text, draw: re.sub(r"\b(\w)(\w+)", r"**\1**\2", text),
    "line breaks between words": lambda text, draw: apart(text, "\n"),
    "quoted": lambda text, draw: wrapped(text, 40, "> "),
    "comments of programs": lambda text, draw: wrapped(text, 40, "# "),
    "comments with slashes": lambda text, draw: wrapped(text, 40, "// "),
    "a block of comments": lambda text, draw: "/*\n" + wrapped(text, 40, " * ") + "\n */",
    "line numbers": lambda text, draw: numbered(text),
    "joined strings": lambda text, draw: wrapped(text, 40, 'x += "', ' "'),
    "printed line by line": lambda text, draw: wrapped(text, 40, 'print("', '")'),
    "LaTeX around numbers": lambda text, draw: NUMBER.sub(r"$\\mathbf{\g<0>}$", text),
    "LaTeX around words": lambda text, draw: " ".join(rf"\text{{{each}}}" for each in words(text)),
    "LaTeX's own signs": lambda text, draw: re.sub(r"([$%&#])", r"\\\1", text),
    "a percent-encoded address": lambda text, draw: f"https://a.example/?q={quote(text)}",
    "quoted-printable": lambda text, draw: "".join(
        f"={byte:02X}" if byte > 126 or byte == 61 else chr(byte) for byte in text.encode()
    ),
    "Arabic digits": lambda text, draw: text.translate(ARABIC),
    "Devanagari digits": lambda text, draw: text.translate(DEVANAGARI),
    "Cyrillic look-alikes": lambda text, draw: text.translate(CYRILLIC),
    "Greek look-alikes": lambda text, draw: text.translate(GREEK),
    "mathematical letters": lambda text, draw: text.translate(MATHEMATICAL),
    "letters in circles": lambda text, draw: text.translate(CIRCLED),
    "accents": lambda text, draw: re.sub(r"([aeiou])", "\\1\u0301", text),
    "decomposed": lambda text, draw: unicodedata.normalize("NFD", text),
    "without spaces": lambda text, draw: text.replace(" ", ""),
    "spaces between letters": lambda text, draw: " ".join(text),
    "escapes of Unicode": lambda text, draw: "".join(f"\\u{ord(each):04x}" for each in text),
    "escapes of bytes": lambda text, draw: "".join(f"\\x{byte:02x}" for byte in text.encode()),
    "footnote marks": lambda text, draw: re.sub(r"(\w{4,})(\s)", r"\1[3]\2", text),
    "times of subtitles": lambda text, draw: "\n\n".join(
        f"{place}\n00:00:{place:02d},000 --> 00:00:{place + 1:02d},000\n{line}"
        for place, line in enumerate(wrapped(text, 30).split("\n"), 1)
    ),
    "an attribute": lambda text, draw: f'<img src="a.png" alt="{html.escape(text)}">',
    "a comment of HTML": lambda text, draw: f"<p>Nothing.</p><!-- {text} -->",
    "inside a long page": lambda text, draw: AROUND * 20 + text + " " + AROUND * 20,
    "sentences in another order": lambda text, draw: shuffled(SENTENCE, text),
    "clauses in another order": lambda text, draw: shuffled(CLAUSE, text),
    "sentences apart, others between": lambda text, draw: f" {AROUND}".join(SENTENCE.split(text)),
    "every number changed": renumbered,
    "numbers as words": spelled,
    "numbers as words, and others": lambda text, draw: spelled(renumbered(text, draw), draw),
    "other names": renamed,
    "other names and numbers": lambda text, draw: renumbered(renamed(text, draw), draw),
    "units otherwise": respelled,
    "one letter of fifty misread": noisy,
    "letters taken for digits": lambda text, draw: text.translate(OCR),
    "every ninth word changed": lambda text, draw: replaced(text, 9),
    "every fifth word changed": lambda text, draw: replaced(text, 5),
    "the first half": lambda text, draw: text[: len(text) // 2],
    "the second half": lambda text, draw: text[len(text) // 2 :],
    "base64": lambda text, draw: base64.b64encode(text.encode()).decode(),
}
INNOCENT = {
    "short questions": ["What is 2 + 3?", "What is 12 times 7?", "How much is it?", "Solve for x.", "3 x 4 = ?", "求x"],
    "ways of asking": [
        "How many apples are left? How much money does she have left? How many hours did it take in total?",
        "What is the total cost in dollars? Round your answer to the nearest cent.",
        "一共多少元？还剩多少个？平均每人多少？每小时行多少千米？",
    ],
    "templates": [
        "Please reason step by step, and put your final answer within \\boxed{}.",
        "Answer the following question and put your final answer after four number signs, like #### 42.",
        "Question 1 of 20. Choose the correct answer. Show all your work. Calculators are not allowed in this part.",
        "Let's think step by step. The answer is 42. So the final answer is 42. I hope it is correct.",
    ],
}


def measured(index: Index, questions: dict[str, list[str]]) -> dict[str, dict[str, list[int]]]:
    """Of each way and benchmark: how many disguised questions are found, and of how many."""
    found: dict[str, dict[str, list[int]]] = {}
    for way, disguise in WAYS.items():
        found[way] = {}
        for name, texts in questions.items():
            draw, counts = random.Random(way), [0, 0]
            for text in texts:
                other = disguise(text, draw)
                if other != text or way == "as it is":
                    hits = index.hits(other)
                    counts[0] += any(hit.item.question == text for hit in hits)
                    counts[1] += 1
            found[way][name] = counts
        print(way, found[way], flush=True)
    return found


def main() -> None:
    """Measures, prints and writes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--data", type=Path, default=HERE.parents[1] / "shared" / "data")
    options.add_argument("--questions", type=int, default=60)
    chosen = options.parse_args()
    index = NGrams(("gsm8k", "cmath"), benchmarks=str(chosen.data)).index()
    draw = random.Random(0)
    by_name: dict[str, list[Item]] = {}
    for item in index.items:
        by_name.setdefault(item.benchmark, []).append(item)
    questions = {
        name: [item.question for item in draw.sample(items, min(chosen.questions, len(items)))]
        for name, items in by_name.items()
    }
    found = measured(index, questions)
    rows = json.loads((chosen.data / "svamp" / "SVAMP.json").read_text(encoding="utf-8"))
    svamp = [f"{row['Body']} {row['Question']}" for row in draw.sample(rows, chosen.questions)]
    innocent = {**INNOCENT, "SVAMP's questions": svamp}
    taken = {name: [sum(bool(index.hits(text)) for text in texts), len(texts)] for name, texts in innocent.items()}
    result = {"questions": chosen.questions, "ways": len(found), "found": found, "innocent": taken}
    (HERE / "disguises.json").write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    print(taken)


if __name__ == "__main__":
    main()
