"""This module reads numbers that are written in words, English and Chinese: ``twenty-five``, ``two and a half``,
``三十五``, ``四分之三``."""

from __future__ import annotations

import re
from fractions import Fraction

from groupwise.rewards.reading.units import is_known_unit

_UNITS_TEXT = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
)
_ONES = {word: number for number, word in enumerate(_UNITS_TEXT.split())}
_TENS = {
    word: 10 * number
    for number, word in enumerate(
        ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"], start=2
    )
}
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_PARTS = {"half": 2, "halves": 2, "third": 3, "quarter": 4, "fourth": 4} | {
    word: number for number, word in enumerate(["fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=5)
}
_PARTS |= {"hundredth": 100, "thousandth": 1000}
_PARTS |= {f"{word}s": number for word, number in _PARTS.items() if word != "halves"}
_WORD = re.compile(r"[a-z]+")
ORDINALS = {
    word: str(number)
    for number, word in enumerate(
        ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth"], start=1
    )
}
"""``third`` is ``3rd`` without its ending."""
_UNIT_AND_A_HALF = re.compile(r"an?\s(?P<unit>[a-z]{2,12})\sand\sa\s(?P<part>half|quarter)(?![a-z])")
_MOST_WORDS = 16
_LONGEST = 200
_BEGINNINGS = frozenset({*_ONES, *_TENS})
_WORDS_AFTER = re.compile(r"\s[a-zA-Z]{2,14}(?=[\s.!*]|$)")
_NOT_ONE = frozenset({"of", "can", "in", "must", "could", "should", "may", "might", "has", "have", "i", "we", "more"})
"""After ``one`` these say that it is a pronoun."""

_HAN_DIGITS = {character: number for number, character in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000}
_HAN = r"[零〇一二两三四五六七八九十百千万亿]{1,20}"
_HAN_NUMBER = re.compile(
    rf"(?P<sign>负?)(?:(?P<percent>百分之)(?P<hundredth>{_HAN}|[0-9]+(?:\.[0-9]+)?)"
    rf"|(?P<bottom>{_HAN})分之(?P<top>{_HAN})|(?P<whole>{_HAN})(?:点(?P<decimals>[零〇一二三四五六七八九]{{1,20}}))?)"
)
_COUNTED = frozenset(
    "个只条匹张本支枝棵株朵辆架艘座间家人名位头口根颗粒块片杯瓶袋箱盒份件套双对副台部次种类组排行列层步页道题项段束把串节把元角分米"
)
"""Words between a number and what is counted."""


def in_digits(text: str) -> str | None:
    """Returns a text that begins with a number in words with that number in digits: ``7 apples`` of ``seven apples``.

    None where it does not begin so, and where the word is a pronoun, as in ``one of them``.
    """
    text = text.strip(" *_`\"'")
    if text[:1] in _HAN_DIGITS or text[:1] in "十百负":
        return _from_chinese(text)
    if not text[:1].isascii() or not text[:1].isalpha():
        return None
    if (half := _UNIT_AND_A_HALF.match(text.lower())) and is_known_unit(half["unit"]):
        return f"{Fraction(3, 2) if half['part'] == 'half' else Fraction(5, 4)} {half['unit']}{text[half.end() :]}"
    found = _from_english(text.lower())
    if found is None:
        return None
    value, end = found
    rest = text[end:]
    after = _WORD.match(rest.lower().lstrip())
    if value == 1 and after and after[0] in _NOT_ONE:
        return None
    if rest.lower().startswith(" out of ") and (whole := in_digits(rest[8:])) is not None:
        return f"{value} out of {whole}"
    head, joint, tail = rest.partition(" and ")
    if joint and (more := in_digits(tail)) is not None:
        return f"{value}{head} and {more}"
    return f"{value}{rest}"


def number_in_words(line: str) -> tuple[str, str, str] | None:
    """Returns what stands before, what follows and the one number of a line that writes it in words: ``three bolts`` of
    ``It takes a total of three bolts.``; None where there is none, or are several. ``one`` alone is none."""
    lower, end, found = line.lower(), 0, []
    for match in _WORD.finditer(lower):
        if match.start() < end or match[0] not in _BEGINNINGS:
            continue
        number = _from_english(lower[match.start() : match.start() + _LONGEST])
        if number is not None and (number[0] > 1 or match[0] == "zero"):
            end = match.start() + number[1]
            found.append((match.start(), end))
        if len(found) > 1:
            return None
    if not found:
        return None
    (start, end), rest = found[0], line[found[0][1] :]
    after = _WORDS_AFTER.match(rest)
    return line[:start], rest, line[start:end] + (after[0] if after else "")


def _from_english(text: str) -> tuple[Fraction, int] | None:
    """The number that a text in small letters begins with, and where it ends."""
    words = _words(text)
    sign, place = 1, 0
    if words and words[0][0] in ("minus", "negative"):
        sign, place = -1, 1
    whole, after = _cardinal(words, place)
    if after > place:
        part, after = _fraction(words, after, whole)
        return sign * part, words[after - 1][1]
    if _at(words, place) in ("a", "an") and _at(words, place + 1) in _PARTS:
        return Fraction(sign, _PARTS[_at(words, place + 1)]), words[place + 1][1]
    if _at(words, place) in ("a", "an") and _at(words, place + 1) == "dozen":
        return Fraction(sign), words[place][1]
    if _at(words, place) == "half" and (len(words) == place + 1 or _at(words, place + 2) == "dozen"):
        return Fraction(sign, 2), words[min(place + 1, len(words) - 1)][1]
    return None


def _words(text: str) -> list[tuple[str, int]]:
    """The words that a text begins with, with their ends; blanks and hyphens alone stand between them."""
    found: list[tuple[str, int]] = []
    end = 0
    for match in _WORD.finditer(text):
        if text[end : match.start()].strip(" -") or len(found) == _MOST_WORDS:
            break
        found.append((match[0], match.end()))
        end = match.end()
    return found


def _at(words: list[tuple[str, int]], place: int) -> str:
    return words[place][0] if place < len(words) else ""


def _cardinal(words: list[tuple[str, int]], place: int) -> tuple[int, int]:
    """A whole number and the place after it; the place itself where there is none."""
    total = current = 0
    last, start = "", place
    while True:
        word = _at(words, place)
        if word in _ONES and (last in ("", "scale") or (last == "tens" and 0 < _ONES[word] < 10)):
            current, last = current + _ONES[word], "ones"
        elif word in _TENS and last in ("", "scale"):
            current, last = current + _TENS[word], "tens"
        elif word == "hundred" and 0 < current < 100:
            current, last = current * 100, "scale"
        elif word in _SCALES and current:
            total, current, last = total + current * _SCALES[word], 0, "scale"
        elif word in ("a", "an") and place == start and _at(words, place + 1) in ("hundred", *_SCALES):
            current = 1
        elif word == "and" and last == "scale" and _at(words, place + 1) in (*_ONES, *_TENS):
            pass
        else:
            return total + current, place
        place += 1


def _fraction(words: list[tuple[str, int]], place: int, whole: int) -> tuple[Fraction, int]:
    """A number with what may follow it: ``three quarters``, ``two and a half``, ``five and two thirds``."""
    word = _at(words, place)
    if word in _PARTS and (word.endswith("s") or word == "halves") == (whole != 1):
        return Fraction(whole, _PARTS[word]), place + 1
    if word == "and" and _at(words, place + 1) in ("a", "one") and _at(words, place + 2) in _PARTS:
        return whole + Fraction(1, _PARTS[_at(words, place + 2)]), place + 3
    top, after = _cardinal(words, place + 1) if word == "and" else (0, place)
    if after > place + 1 and _at(words, after) in _PARTS:
        return whole + Fraction(top, _PARTS[_at(words, after)]), after + 1
    return Fraction(whole), place


def _from_chinese(text: str) -> str | None:
    match = _HAN_NUMBER.match(text)
    if match is None:
        return None
    rest = text[match.end() :]
    bare = rest.strip(" .。,，!！")
    if bare and bare[0] not in _COUNTED and not is_known_unit(bare):
        return None
    if match["percent"]:
        hundredth = match["hundredth"]
        number = hundredth if hundredth[0].isascii() else str(_chinese(hundredth))
        return None if number == "None" else f"{'-' * bool(match['sign'])}{number}%{rest}"
    value = _chinese(match["whole"] or match["top"])
    bottom = _chinese(match["bottom"]) if match["bottom"] else 1
    if value is None or not bottom:
        return None
    number = str(Fraction(value, bottom))
    if match["decimals"]:
        number += "." + "".join(str(_HAN_DIGITS[character]) for character in match["decimals"])
    return f"{'-' * bool(match['sign'])}{number}{rest}"


def _chinese(text: str) -> int | None:
    """``一万二千三百零五`` and ``二〇二一``; None of what is written otherwise."""
    if not any(character in "十百千万亿" for character in text):
        digits = "".join(str(_HAN_DIGITS[character]) for character in text)
        return int(digits) if len(digits) == 1 or len(digits) > 2 else None
    total = section = 0
    digit: int | None = None
    scales = {"百": 10, "千": 100, "万": 1000}
    if text[-2:-1] in scales and text[-1] in "一二三四五六七八九":  # 一百五 is 150
        whole = _chinese(text[:-1])
        return None if whole is None else whole + _HAN_DIGITS[text[-1]] * scales[text[-2]]
    for character in text:
        if character in _HAN_DIGITS:
            if digit:
                return None
            digit = _HAN_DIGITS[character]
        elif character in _HAN_SCALES:
            section += (1 if digit is None else digit) * _HAN_SCALES[character]
            digit = None
        else:
            section += digit or 0
            total = (total + section) * 10**8 if character == "亿" else total + section * 10**4
            section, digit = 0, None
    return total + section + (digit or 0)
