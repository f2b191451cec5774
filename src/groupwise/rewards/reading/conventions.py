"""This module says where an answer stands: the ways in which people and models mark one, each a rule that finds spans
of text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from groupwise.rewards.reading.languages import AFTER, ANNOUNCED, without_courtesy

SPAN_CHARACTERS = 2_000
OCCURRENCES = 8
"""Of one convention, counted from the end, as many are looked at."""
LINE_CHARACTERS = 300


@dataclass(frozen=True)
class Span:
    """A part of a text that may be its answer."""

    text: str
    is_marked: bool = True
    """It is the answer and nothing else; False: a line that goes on as the writer likes."""
    joined: tuple[str, ...] = ()
    """Boxes of the same line, in order, where there are several: together they may be a list."""
    is_list: bool = False
    """Only commas and conjunctions stand between them: they are a list."""
    is_end: bool = False
    """The end of a text that nothing marks: its first clause is no more than any other."""
    may_be_sentence: bool = False
    """Models write a sentence there, too: ``<answer>The total is 96.</answer>``."""
    heads: bool = False
    """It follows ``####``, which also begins headings."""


_HASHES = re.compile(r"(?<!#)####(?!#)[ \t]*([^\n#]*(?:#(?!###)[^\n#]*)*)")
_BRACES = re.compile(r"(?P<boxed>\\(?:boxed|fbox|framebox)[ ]?\{)|(?P<escaped>\\[\\{}])|(?P<open>\{)|(?P<close>\})")
_SHORT_BOX = re.compile(r"\\boxed[ ]?([0-9]+|[a-zA-Z])")
_TAG = re.compile(r"<(?P<close>/)?(?:answer|final_answer|final|finalanswer)>", re.IGNORECASE)
_A_LINE = re.compile(r"^[ \t>*]*A:[ \t]*([^\n]*)", re.MULTILINE)
_FIELD = re.compile(
    r"\"(?:final[_ ]?)?answer\"\s*:\s*"
    r"(?:\"(?P<text>[^\"\n]+)\"|(?P<number>-?[0-9][0-9.]*(?:[eE][-+]?[0-9]+)?))\s*[,}\n]",
    re.IGNORECASE,
)
_FINAL = re.compile(r"\b(?:final|最终|最后的?)[\s*_]*$", re.IGNORECASE)
_OUTPUT = re.compile(r"^[ \t]*```(?P<kind>[^\n`]*)$", re.MULTILINE)
_MARKER = re.compile(
    rf"{ANNOUNCED}|"
    r"\banswer(?![a-z])|(?<!possible )(?<!candidate )\banswers(?=\s+are\b)"
    r"|\bans\b(?=\.?\s*[:=])|\b(?:option|choice)s?(?=\s+(?:is|are)\b)|(?:最终|最后)?(?:的)?答案|(?<![\u4e00-\u9fff])答(?=\s*[:：])"
    r"|(?:应|故|因此|所以|我|请)?选(?:择|项)?(?=\s*+(?:[:：是为]\s*+)?[(（]?[A-J]{1,6}(?![a-zA-Z]))|(?:最终|最后)?结果(?=\s*(?:是|为|等于|[:：]))"
    r"|\bcorrection(?=\s{0,3}:\s{0,3}[-*$\\(]{0,4}(?:[0-9]|[a-z]+\{))",
    re.IGNORECASE,
)
_ANNOUNCED = re.compile(ANNOUNCED, re.IGNORECASE)
_AFTER_ENGLISH = re.compile(
    r"(?P<mark>[*_`\"')]*)[ \t]{0,3}(?:\([^()\n]{0,40}\)[ \t]?)?"
    r"(?:(?P<about>(?:to|of|for|in|we|i|you|that|this|the|your)\b[^.:=\n]{0,120}?)[ \t])?[ \t]{0,3}"
    r"(?:(?:is|are|was|equals|becomes|comes (?:out )?to|(?:will|would|should|must|can only|has to|to) be)(?![a-z])"
    r"|[:：=→➜]+|[-–—]{1,2}(?=\s)|(?=\\boxed)|(?=\n))",
    re.IGNORECASE,
)
_AFTER_CHINESE = re.compile(r"[*_`]*+\s*+(?:应该|应当|应|就|即|便|选项)*+\s*+(?:是|为|等于|选)?\s*+[:：=]?")
_FILLERS = re.compile(
    r"(?:[\s*_:：=>→➜≈`~]++|(?:therefore|thus|hence|then|so|simply|just|exactly|approximately|about|roughly|indeed"
    r"|clearly|given by|found to be|equal to|equals|also|now|only|actually|obviously|definitely|still|in fact|option"
    r"|choice|和?选项|is|there are|there is)(?![a-z])[\s,:]*+)++",
    re.IGNORECASE,
)
_FACTORIAL = re.compile(r"(?:(?<![A-Za-z])[k-z]|[)}])![ .]{0,3}$")
_EMPHASIS_AFTER = re.compile(r"[*_`]+([.!。]?)$")
_EMPTY_LINE = re.compile(r"[\s*_:#>`~\-=]*\n")
_RETRACTS = re.compile(
    r"(?:(?:\.{2,}|…|\?)\s*+(?:[Nn]o|[Aa]ctually)|[.!,;—]\s*+[Nn]o(?=,)"
    r"|[.!?,;—…]\s*+(?:[Ww]ait|[Hh]mm+|[Oo]ops|[Ss]orry|[Cc]orrection|[Ss]cratch that)"
    r"(?!\s(?:for|about|if|until|time|times|factor|factors|term|list)\b))"
    r"(?![a-z])[,.:!…]*+\s*+(?:(?:it is|it's|that is)\s)?"
)
"""Words that take back what was said before them."""
_NOT_TAKEN_BACK = re.compile(
    r"[^0-9,.:;!?\n]{0,80}?(?:\bnot\b|n't\b|\bnever\b)[^0-9,.:;!?\n]{0,40}[0-9]"
    r"|[$\\(]{0,3}[0-9][0-9,./]{0,20}[$)]{0,2}\s(?:[a-z]{1,14}\s)?"
    r"(?:cannot|can't|isn't|doesn't|wouldn't|would|could|(?:is|does|are|do) not"
    r"|is (?:too|wrong|impossible|incorrect))\b"
)
"""``not 13`` and ``13 is not possible`` after such words: what stands before them stays."""
_DISPLAY = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"), ("\\begin{", None))
_MATH = re.compile(
    r"\$\$(?P<a>[^$]{1,1500}?)\$\$|\\\[(?P<b>[^\x00]{1,1500}?)\\\]|\\\((?P<c>[^\n]{1,1500}?)\\\)|(?<![\\A-Za-z0-9_])\$(?P<d>[^$\n]{1,1500}?)(?<!\\)\$"
)
_JOIN = re.compile(
    r"[\s$,;.*]*+(?:\\?(?:quad|text\{\s*,?(?:and|or|和|或)\s*\}|and|or|和|或|、|，|,|;|\$|\\\(|\\\)|\\\[|\\\]|\\ )"
    r"[\s$,;.*]*+){0,6}"
)
_CONJUNCTION = re.compile(r"and|or|和|或|、|，|,|;")


def hashes(text: str) -> Iterator[Span]:
    """Finds ``#### N`` (GSM8K). Two on a line are two answers, of which the last counts; five marks and more are
    none."""
    for match in _last(_HASHES, text):
        if line := match[1].strip(" \t\r*:"):
            yield Span(line[:SPAN_CHARACTERS], is_marked=False, heads=True)


def boxes(text: str) -> Iterator[Span]:
    """``\\boxed{...}``, braces balanced; of nested ones the inner. The box that opens last comes first."""
    found: list[tuple[int, int, int]] = []
    opened: list[tuple[bool, int, int]] = []
    for token in _BRACES.finditer(text):
        if token.lastgroup in ("boxed", "open"):
            opened.append((token.lastgroup == "boxed", token.start(), token.end()))
        elif token.lastgroup == "close" and opened:
            boxed, start, begin = opened.pop()
            if boxed:
                found.append((start, begin, token.start()))
    if not found:
        yield from (Span(match[1]) for match in _last(_SHORT_BOX, text))
        return
    found.sort()
    for last in range(len(found) - 1, max(-1, len(found) - 1 - OCCURRENCES), -1):
        start, begin, end = found[last]
        if inside := text[begin:end].strip():
            yield Span(inside[: SPAN_CHARACTERS + 1], may_be_sentence=True, **_neighbours(text, found[: last + 1]))


def _neighbours(text: str, found: list[tuple[int, int, int]]) -> dict[str, Any]:
    """The boxes that stand on the line of the last of ``found``, and whether they are written as one list."""
    start = max(text.rfind("\n", 0, found[-1][0]) + 1, found[-1][0] - LINE_CHARACTERS)
    line = [found[-1]]
    for box in reversed(found[:-1]):
        if box[0] < start or len(line) == OCCURRENCES:
            break
        if box[2] < line[0][0]:
            line.insert(0, box)
    if len(line) < 2:
        return {}
    between = [text[one[2] + 1 : other[0]] for one, other in itertools.pairwise(line)]
    is_list = all(_JOIN.fullmatch(gap) and _CONJUNCTION.search(gap) for gap in between)
    return {"joined": tuple(text[begin:end].strip() for _, begin, end in line), "is_list": is_list}


def tags(text: str) -> Iterator[Span]:
    """Finds ``<answer>...</answer>``; the last one may lack its end, where a stop string took it."""
    marks = list(_TAG.finditer(text))
    for number in range(len(marks) - 1, max(-1, len(marks) - 1 - 2 * OCCURRENCES), -1):
        if marks[number]["close"]:
            continue
        closes = number + 1 < len(marks) and marks[number + 1]["close"]
        if closes or number + 1 == len(marks):
            end = marks[number + 1].start() if closes else len(text)
            if inside := text[marks[number].end() : end].strip():
                yield Span(inside[-SPAN_CHARACTERS - 1 :], may_be_sentence=True)


def lines(text: str) -> Iterator[Span]:
    """A line ``A: N``, as in OpenAI's sampled GSM8K solutions; and the field ``answer`` of an object in JSON."""
    for field in _last(_FIELD, text):
        yield Span((field["text"] or field["number"] or "").replace("\\\\", "\\")[:SPAN_CHARACTERS])
    for match in _last(_A_LINE, text):
        if line := match[1].strip(" \t\r*:"):
            yield Span(line[:SPAN_CHARACTERS], is_marked=False)


def finals(text: str) -> Iterator[Span]:
    """``the final answer is N``, ``**Final Answer**``, ``最终答案``: said to be the last word, so before any box."""
    for match, span in _marked_lines(text):
        if _FINAL.search(text[max(0, match.start() - 12) : match.start()]) or match[0].startswith("最终"):
            yield span


def phrases(text: str) -> Iterator[Span]:
    """``the answer is N``, ``**Answer:** N``, ``Final answer`` with the answer on the next line, ``option B``; and in
    Chinese ``答案是``, ``答：``, ``故选``."""
    yield from (span for _, span in _marked_lines(text))


def _marked_lines(text: str) -> Iterator[tuple[re.Match[str], Span]]:
    """Each marker, from the end, with the line that follows it."""
    for match in _last(_MARKER, text):
        after = text[match.end() : match.end() + SPAN_CHARACTERS]
        ends = _link(match[0], after)
        if ends and (line := without_retracted(_line(after[ends.end() :]))):
            yield match, Span(without_courtesy(line), is_marked=False)


def _link(marker: str, after: str) -> re.Match[str] | None:
    """Finds what may stand between a marker and its answer, in the marker's language."""
    if _ANNOUNCED.fullmatch(marker):
        return AFTER.match(after)
    return _AFTER_ENGLISH.match(after) if marker.isascii() else _AFTER_CHINESE.match(after)


def without_retracted(line: str) -> str:
    """Returns ``25`` of ``24... wait, 25``: what follows the last word that takes back what stands before it."""
    found = _last(_RETRACTS, line[:LINE_CHARACTERS])
    rest = line[found[0].end() :] if found else ""
    if not any(map(str.isdigit, rest)) or _NOT_TAKEN_BACK.match(rest):
        return line
    return without_fillers(rest)


def outputs(text: str) -> Iterator[Span]:
    """Finds the last line of the last fenced block ``output``: what a program printed, where a tool ran it."""
    for printed, _ in _printed(text):
        if printed:
            yield Span(printed.rpartition("\n")[2].strip()[:SPAN_CHARACTERS])
            return


def ends_in_output(text: str) -> bool:
    """Whether a text ends with what a program printed, an error or nothing perhaps: its numbers are no answer that
    the text gives."""
    return next((not text[end:].strip(" \t\n`") for _, end in _printed(text)), False)


def _printed(text: str) -> Iterator[tuple[str, int]]:
    """What the fenced blocks ``output`` hold, the last first, and where each ends."""
    fences = list(_OUTPUT.finditer(text))
    for number in range(len(fences) - 1, max(-1, len(fences) - 1 - OCCURRENCES), -1):
        if fences[number]["kind"].strip().lower() in ("output", "result", "stdout"):
            end = fences[number + 1].start() if number + 1 < len(fences) else len(text)
            yield text[fences[number].end() : end].strip(), end


Convention = Callable[[str], Iterator[Span]]
CONVENTIONS: dict[str, Convention] = {
    "tags": tags,
    "hashes": hashes,
    "finals": finals,
    "boxes": boxes,
    "lines": lines,
    "phrases": phrases,
    "output": outputs,
}
"""By name, in the usual order. What stands at the end of an unmarked text is read by ``endings``."""


def math_pieces(text: str) -> list[tuple[int, int, str]]:
    """``(start, end, inside)`` of everything between dollar signs, ``\\( \\)`` and ``\\[ \\]``."""
    return [
        (match.start(), match.end(), next(part for part in match.groups() if part is not None))
        for match in _MATH.finditer(text)
    ]


def without_fillers(line: str) -> str:
    """A line without ``therefore``, ``equal to``, colons and marks of emphasis before its answer."""
    match = _FILLERS.match(line)
    return line[match.end() :] if match else line


def without_shout(line: str) -> str:
    """A line without exclamation marks at its end; ``n!`` and ``(n-1)!`` are factorials."""
    return line if _FACTORIAL.search(line[-8:]) else line.rstrip("! ")


def _line(after: str) -> str:
    """The line that follows a marker, or the next one with anything on it; of displayed mathematics all lines."""
    if match := _EMPTY_LINE.match(after):
        after = after[match.end() :].lstrip("\n")
        while match := _EMPTY_LINE.match(after):
            after = after[match.end() :]
    after = without_fillers(after.lstrip())
    return _EMPHASIS_AFTER.sub(r"\1", _whole(after))


def _whole(after: str) -> str:
    """The first line, or all lines of displayed mathematics and what follows on its last one."""
    for opening, closing in _DISPLAY:
        if after.startswith(opening):
            if closing is None:
                end = after.rfind("\\end{")
                end = after.find("}", end) + 1 if end >= 0 else -1
            else:
                end = after.find(closing, len(opening))
                end = end + len(closing) if end >= 0 else -1
            if end > 0 and "\n\n" not in after[:end]:
                return (after[:end] + after[end:].partition("\n")[0]).strip()
    return after.partition("\n")[0].strip()


def _last(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    return list(pattern.finditer(text))[: -OCCURRENCES - 1 : -1]
