"""The end of a text that nothing marks: its last line, its last mathematics, its last number."""

from __future__ import annotations

import re
from collections.abc import Iterator

from groupwise.rewards.reading.compounds import in_one_unit, share
from groupwise.rewards.reading.conventions import Span, math_pieces, without_fillers, without_shout
from groupwise.rewards.reading.moments import moment
from groupwise.rewards.reading.number_words import in_digits, number_in_words
from groupwise.rewards.reading.parsing import PHRASES, understand
from groupwise.rewards.reading.units import UNIT_AFTER
from groupwise.rewards.reading.values import Formula, Items

END_CHARACTERS = 2_000
WORDS_BEFORE = 24
_FENCE_END = re.compile(r"\n[ \t]*`{3,}$")
_END_OF_PROOF = re.compile(r"(?:□|∎|■|◻|\\(?:black)?square|\\qed|Q\.?E\.?D)[.$]{0,2}$")
_REMARK = re.compile(r"(?<=[^\sU])\s\((?!\s?-?[\w.\\]{1,12}\s?,)(?=[^()]{0,200}[a-zA-Z]{2})[^()]{1,200}\)[.!*_]{0,4}$")
"""A remark in words within brackets at the end of a line."""
_FOR_ALL = re.compile(r"\s*+(?:,\s*+)?(?:for\s(?:all|every|each|any|some)|where|when|with)\s(?:[a-z-]{1,12}\s){0,2}")
_ANY_NUMBER = re.compile(
    r"(?<![A-Za-z0-9_.])(?:[-\u2212](?<![\w)\]]-))?[$€£]?(?:[0-9][0-9,]*(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3}(?![0-9a-zA-Z]))?"
    r"(?:\s?/\s?[0-9]+(?![0-9]*(?:\.[0-9]|/)))?%?"
)
_JOINED = re.compile(r"\s*+(?:,|、|，)?\s*+(?:(?:or|and|either|to|nor|或者?|和|、)(?![a-z]))?\s*+|,\s*+")
_NEGATED = re.compile(
    r"(?:\bnot|\bcannot|n't|\bnever|\bno longer|\bthan|\binstead of|\beliminat(?:es?|ed|ing)|\brul(?:es?|ed|ing) out"
    r"|\b(?:ex|pre)clud(?:es?|ed|ing)|不是|不等于|并非|不到|不足|超过|[少多大小低高]于|排除|≠|!=|\\neq?)\s*"
    r"(?:be\s+|equals?\s+(?:to\s+)?|simply\s+|just\s+|option\s+)?[$*(]*\s*$",
    re.IGNORECASE,
)
_DENIED_AFTER = re.compile(
    r"[\s$*)]*+(?:\?\s*+(?:no|nope)\b|(?:(?:is|was|are|were|be|also|simply|clearly|therefore)\s++)*+"
    r"(?:not\s+(?:the\s+)?(?:correct|right|answer|solution|possible|true)|isn't|wasn't|wrong\b|incorrect\b|false\b|impossible\b|不对|不正确|是?错误?的))",
    re.IGNORECASE,
)
_NOT_ANOTHER = re.compile(
    r"(?P<said>[0-9]%?\$?\*{0,2}(?:\s?[a-zA-Z]{1,14}(?=[,;(]|\s\())?)[,;]?\s\(?(?:and\s|but\s)?(?:not|rather\sthan|instead\sof)\s"
    r"[-$]{0,2}[0-9][0-9,.]{0,20}\$?(?:\s[a-zA-Z]{1,14})?[.)!\s]{0,4}$"
    r"|(?P<exact>[0-9]\$?)(?:,?\sor|,|\s\()\s?(?:about|approximately|roughly|around)\s[0-9.,]{1,12}%?[.)!\s]{0,4}$"
    r"|(?P<before>[0-9])\s\(not\s[0-9.,]{1,20}\)"
)
"""``5, not 6`` and ``3/56, or about 5.36%`` at the end, and ``5 (not 6)``."""
_SHARE = re.compile(r"(?P<part>[0-9][0-9,]{0,12})\s(?:(?P<out>out\sof\s(?:the\s|every\s)?)|of\s(?:the|those|these)\s)$")
"""``3 out of`` and ``3 of the``, before a number."""
_OPERATIONS = (" plus", " times", " divided by", " multiplied by", " under", " over")
"""Words before a number that say it is a part, or a bound, of another."""
_FUNCTIONS = (" log", " ln", " lg", " sin", " cos", " tan", " sqrt", " exp")
_VERDICTS = ("yes", "no", "true", "false")
_DENIALS = frozenset({"not", "neither", "nor", "never", "cannot", "whether", "if"})
_DOUBTS = _DENIALS | {
    "may",
    "might",
    "could",
    "can",
    "can't",
    "would",
    "either",
    "isn't",
    "wasn't",
    "shouldn't",
    "won't",
}
"""Behind these a word says what is perhaps, or is not."""
_SIGN_WORDS = ("negative", "minus", "负")
_NAMED_UNIT = re.compile(
    r"\s(?:(?:square|cubic|sq)\.?\s)?(?:units?|[cmk]?m|feet|inch(?:es)?|ft|miles?|yards?|(?:centi|kilo)?met(?:er|re)s?)[.!]?$"
)
"""A length, an area or a volume behind a formula in plain text."""
_NUMBERED = re.compile(r"^[0-9]{1,2}[.)]\s+(?=[^\W\d])")
"""The number of a paragraph."""
_LETTER = re.compile(r"(?<![\w\\$°])(?<![0-9°]\s)(?:[B-HJ]|A(?=[.)\s*]*(?:$|[,;)]|or\b|and\b)))(?![\w'])")
"""A choice that stands alone in a line, and is neither "A" nor "I" of a sentence."""
_PER = (
    r"(?:hr|min|sec|day|wk|mo|yr|kg|lbs?|oz|km|mi|ft|cm|mm|gal|ml|ton|box|bag|jar|cup|egg|pie|pen|can|car|man|boy|dog|cat"
    r"|row|set|bus|(?!sqrt|sinh|cosh|tanh|arc|frac)[a-zA-Z]{4,20})(?![a-zA-Z(]|\s?\()"
)
GOES_ON = re.compile(rf"\s?[-+*/^](?!(?<=[-/]){_PER})\s?[\w(\\]|\s(?:squared|cubed)(?![a-z])")
"""More arithmetic after a number, as in ``10 + n`` and ``10/xy``; ``18/day`` and ``18-day`` are none."""
_SAID_IN_CHINESE = re.compile(
    r"(?<!不)(?:是|为|有|共|剩|得|等于)(?P<said>[零一二两三四五六七八九十百千万亿点]{1,20}[\u4e00-\u9fff]{0,2})[。.!！]?$"
)
"""``共有三十五人。`` at the end of a line."""
_EQUATION = r"[a-zA-Z](?:_\{?\w\}?)?\s?=\s?[-\u2212]?[0-9][0-9./]{0,20}"
_EQUATIONS = re.compile(rf"(?<!\w){_EQUATION}(?:(?:,?\s+(?:and|or)\s+|,\s?|;\s?){_EQUATION}){{1,8}}\s?$")
"""``x = 3, x = 2 and x = 1`` at the end of a line."""
_DENIES = re.compile(r"(?:\b(?:not|never|neither|false|wrong|untrue|impossible)\b|n't\b)[^,;.:]{0,40}$", re.IGNORECASE)
_CERTAIN = frozenset({"must", "should", "will", "to", "only"})
"""Before ``be`` these leave no other answer, as ``could`` and ``may`` do."""
_UNIT_AFTER = re.compile(rf"\s?{UNIT_AFTER}?")


def last_line(text: str) -> str:
    """Returns the last line with anything on it; of displayed mathematics all of its lines."""
    end = _FENCE_END.sub("", text.rstrip()[-END_CHARACTERS:]).rstrip()
    if proof := _END_OF_PROOF.search(end[-20:]):
        end = end[: len(end) - len(proof[0])].rstrip("$ \n")
    for closing, opening in (("\\]", "\\["), ("$$", "$$"), ("\\)", "\\(")):
        bare = end.rstrip(". ")
        if bare.endswith(closing) and (start := bare.rfind(opening, 0, len(bare) - len(closing))) >= 0:
            return end[start:]
    return _NUMBERED.sub("", end.rpartition("\n")[2].strip().removeprefix("> ").lstrip("#").strip())


def trailing_formula(line: str) -> str | None:
    """Returns ``x+2`` of ``so we have x+2``: what is left of a line without its first words, where that is a
    formula."""
    unit = _NAMED_UNIT.search(line)
    if unit and any(mark in line for mark in "√^(π\\") and (found := trailing_formula(line[: unit.start()])):
        return found
    words = line.split(" ")
    for start in range(1, min(len(words), WORDS_BEFORE)):
        rest = " ".join(words[start:])
        value = understand(rest, is_marked=False)
        if (
            isinstance(value, Formula)
            or moment(rest.strip(" .*_`"))
            or (isinstance(value, Items) and (value.brackets or rest.startswith("{") or _are_points(value)))
            or share(rest.rstrip(" ."))
        ):
            is_word = rest.strip(" .").isalpha() and not {*map(str.lower, words[:start])}.isdisjoint(_DOUBTS)
            is_none = is_word or is_denied(f"{' '.join(words[:start])} ") or len(rest.strip(" .")) < 2
            return None if is_none else rest
    return None


def _are_points(value: Items) -> bool:
    return all(isinstance(one, Items) and one.brackets for one in value.items)


def last_number(text: str) -> str | None:
    """The last number anywhere, as written; None where there is none."""
    numbers = [match[0] for match in _ANY_NUMBER.finditer(text[-END_CHARACTERS:])]
    if not numbers and len(text) > END_CHARACTERS:
        numbers = [match[0] for match in _ANY_NUMBER.finditer(text)]
    return numbers[-1].rstrip(",") if numbers else None


def ending_spans(text: str) -> Iterator[Span]:
    """Returns what the end may mean, likeliest first: the whole last line, the last piece of mathematics, the last
    number.

    Numbers side by side (``5 or 6``) are a list and so no single answer; a number that is denied (``not 5``) is none.
    """
    text = _NOT_ANOTHER.sub(
        lambda found: found["said"] or found["exact"] or found["before"], text.rstrip()[-2 * END_CHARACTERS :]
    )
    line = last_line(text)
    if any(map(str.isdigit, (bare := _REMARK.sub("", line)))) or number_in_words(bare):
        text, line = text.rstrip()[: len(text.rstrip()) - len(line) + len(bare)], bare
    if line:
        yield from _line_spans(line, text.rstrip().rpartition("\n")[2].lstrip("> ").startswith("####"))
    end = text[-END_CHARACTERS:]
    pieces = math_pieces(end)
    matches = list(_ANY_NUMBER.finditer(end))
    number = matches[-1] if matches else None
    if pieces and (number is None or pieces[-1][1] >= number.end()):
        if len(pieces) > 1 and _FOR_ALL.fullmatch(end[pieces[-2][1] : pieces[-1][0]]):
            pieces.pop()
        start = len(pieces) - 1
        while start > 0 and _is_joint(end[pieces[start - 1][1] : pieces[start][0]]):
            start -= 1
        inside = ", ".join(piece[2].strip() for piece in pieces[start:])
        after = end[pieces[-1][1] :]
        unit = _UNIT_AFTER.match(after)
        if start == len(pieces) - 1 and unit and unit[0].strip() and not is_denied(end[: pieces[-1][0]]):
            yield Span(f"{inside} {unit[0].strip()}")
        if not is_denied(end[: pieces[start][0]]):
            yield Span(inside)
        return
    if number is not None:
        yield from _plain_number(end, matches)


def _plain_number(end: str, matches: list[re.Match[str]]) -> Iterator[Span]:
    """The last number, which no mathematics holds: nothing where it is denied, goes on, or is a part of another."""
    number = matches[-1]
    before, after = end[: number.start()], end[number.end() :]
    if GOES_ON.match(end, number.end()) or _is_inside(before) or is_denied(before, after):
        return
    before = before.rstrip()
    if (sign := sign_word(before)) and not _is_operand(before):
        yield Span(f"{sign}{number[0].rstrip(',')}", is_marked=False)
    elif shared := _SHARE.search(end[: number.start()][-40:]):
        yield Span(f"{shared['part']} out of {number[0]}" if shared["out"] else shared["part"], is_marked=False)
    elif not sign:
        yield from _numbers(end, matches)


def _letter(line: str) -> Iterator[Span]:
    """The one choice that a line names and does not deny."""
    found = [match for match in _LETTER.finditer(line) if not is_denied(line[: match.start()], line[match.end() :])]
    if len({match[0] for match in found}) == 1:
        yield Span(found[0][0])


def _line_spans(line: str, heads: bool) -> Iterator[Span]:
    """What the last line may mean, by all of it or by a part."""
    yield Span(line, is_marked=False, is_end=True, heads=heads)
    letters = {each[0] for each in _LETTER.finditer(line) if not is_denied(line[: each.start()], line[each.end() :])}
    if len(letters) == 1:
        yield Span(letters.pop())
    if "$" not in line and "\\" not in line:
        yield from _stated_words(line)
    if "$" not in line and "\\" not in line and not any(map(str.isdigit, line)):
        if not heads and (said := number_in_words(line)) and not is_denied(*said[:2]):
            yield Span(said[2])
        if chinese := _SAID_IN_CHINESE.search(line[-60:]):
            yield Span(chinese["said"])
    end = line[-200:].rstrip(". ")
    if (equations := _EQUATIONS.search(end)) and not _DENIES.search(end[: equations.start()]):
        yield Span(equations[0])
    if "$" not in line and "\\begin" not in line and (formula := trailing_formula(without_shout(line))):
        yield Span(formula)


def _stated_words(line: str) -> Iterator[Span]:
    """``Yes`` of ``Yes, it is.`` and ``even`` of ``The function is even.``, where nothing is denied."""
    words = without_fillers(line.strip(" *_.!")).split()
    first = words[0].lower() if words else ""
    if words == [first] and first in _VERDICTS:
        yield Span(first)
        return
    if first[-1:] in (",", ".", ":") and first[:-1] in _VERDICTS:
        yield Span(first[:-1])
        return
    known = next((phrase for phrase in PHRASES if line.strip(" *_.!").lower().endswith(phrase)), "")
    if known:
        yield Span(known)
        return
    said = line.strip(" *_.!").rpartition(" is ")[2]
    if said != line and in_digits(said) is not None:
        yield Span(said)
        return
    if len(words) < 3 or words[-1].isupper() or any(word.lower() in _DENIALS or word.endswith("n't") for word in words):
        return
    verb = len(words) - (3 if words[-2].lower() in ("a", "an", "on", "the") else 2)
    is_said = words[verb].lower() in ("is", "was", "are", "were", "on")
    if is_said or (words[verb].lower() == "be" and verb and words[verb - 1].lower() in _CERTAIN):
        said = words[-1].strip("*_`'\"")
        if said.isalpha() or not any(map(str.isdigit, line)):
            yield Span(said)


def _numbers(end: str, matches: list[re.Match[str]]) -> Iterator[Span]:
    """The last number with the word after it; the quantity in several parts, or the list, that it ends."""
    unit = _UNIT_AFTER.match(end, matches[-1].end())
    if unit and unit[0].strip():
        for earlier in matches[-4:-1]:
            if in_one_unit(parts := end[earlier.start() : unit.end()]) is not None:
                yield Span(parts, is_marked=False)
                return
    first = len(matches) - 1
    while first > 0 and _is_joint(end[matches[first - 1].end() : matches[first].start()]):
        first -= 1
    written = [match[0].rstrip(",") for match in matches[first:]]
    if len(written) > 1:
        yield Span("; ".join(written[-40:]))
        return
    yield Span(written[0] + (unit[0] if unit else ""), is_marked=False, joined=(written[0],))


def _is_joint(gap: str) -> bool:
    return len(gap) < 20 and bool(_JOINED.fullmatch(gap))


def is_denied(before: str, after: str = "") -> bool:
    """Whether the words before or after a number or a letter say that it is not the answer."""
    return bool(_NEGATED.search(before[-40:]) or _DENIED_AFTER.match(after[:60]))


def sign_word(before: str) -> str:
    """Returns ``-`` where a text ends with ``negative`` or ``minus``, otherwise nothing."""
    return "-" if before[-12:].rstrip().lower().endswith(_SIGN_WORDS) else ""


def _is_inside(before: str) -> bool:
    """Whether a number is an exponent or the argument of a function: ``x^3``, ``log 3``; or what
    follows the hours of a time."""
    is_of_clock = before.endswith(":") and before[-2:-1].isdigit()
    before = f" {before[-16:]}".rstrip(" ({")
    is_power = before.endswith("**") and before[-3:-2].isalnum()
    return (
        is_power or is_of_clock or before.endswith(("^", "√")) or before.lower().endswith((*_FUNCTIONS, *_OPERATIONS))
    )


def _is_operand(before: str) -> bool:
    """Whether a number stands before the ``minus`` that a text ends with: ``10 minus``."""
    return before.lower().removesuffix("minus").rstrip()[-1:] in tuple("0123456789)}")
