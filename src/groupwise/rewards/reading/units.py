"""The unit of a number, as words that can be compared: no unit is ever turned into another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from groupwise.rewards.reading.unit_names import COMPOUNDS, KNOWN_UNITS, NAMES

Unit = tuple[str, ...]
"""Words in their one spelling, ``/`` before what stands for "per"; empty: none is named."""

SCALES = {
    **{"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "millions": 10**6},
    **{"thousands": 10**3, "billions": 10**9, "百": 10**2, "千": 10**3, "万": 10**4, "亿": 10**8, "百万": 10**6},
    **{"千万": 10**7, "万亿": 10**12},
}
WORDS = 5
_ONE = r"(?:\\?%|\^\\?circ|[a-zA-Zµμ°²³€£Ω]{1,14}(?:\^?\{?-?[23]\}?|[²³])?)"
UNIT_AFTER = (
    rf"(?:(?:(?:square|cubic|sq|cu)\.?\s)?{_ONE}(?:\s?[/·⋅]\s?{_ONE}|\sper\s{_ONE}(?:\s(?:squared|cubed))?|-{_ONE}){{0,2}}"
    r"|[\u4e00-\u9fff]{1,4})"
)
"""What may be the unit behind a number in a sentence, as part of a pattern."""

_AMBIGUOUS = {"pound": ("pound-sterling",), "yen-or-yuan": ("yen", "yuan")}
"""Words and signs that mean more than one: ``£5`` is ``5 pounds``, ``¥5`` is ``5 yuan``."""
_MONEY = frozenset({"dollar", "cent", "euro", "pound-sterling", "yuan", "yen", "yen-or-yuan", "jiao", "fen", "rupee"})
_REGULAR = frozenset({"day", "week", "month", "year"})
_OHM = re.compile(r"\\Omega(?![a-zA-Z])\s*+")
_MICRO = re.compile(r"\\mu(?![a-zA-Z])\s*+")
_MICRO_APART = re.compile(r"μ\s++(?=[a-zA-Z])")
_LETTERS = {0x00B5: "μ", 0x2126: "Ω"}
PERCENT = frozenset({"%", "\\%", "percent", "pct", "percentage", "percents"})
NOT_A_UNIT_TEXT = """
and or plus minus times over to x half k b bn below negative not but nor versus vs is are was were
be if so then because since as by from with than that which who what when where while unless however although
though st nd rd th quarter third thirds quarters halves point multiplied equals equal between either neither also
therefore out isn wasn aren wrong incorrect pi divided
"""
NOT_A_UNIT = frozenset(NOT_A_UNIT_TEXT.split())
_SMALL = frozenset(
    {"of", "the", "a", "an", "in", "total", "more", "left", "each", "every", "all", "altogether", "away"}
)
_WRAPPER = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|textrm|mathbf|textit|hbox|operatorname|rm)\s*\{(?P<inner>[^{}]*)\}"
)
_WORD = re.compile(
    r"(?P<word>\^\\circ|[$€£¥₹¢]|[a-zA-ZμΩ]+\.?)(?:\^?\{?(?P<power>-?[1-9])\}?)?|(?P<han>[\u4e00-\u9fff]+)(?:\^\{?(?P<cube>[23])\}?)?"
    r"|(?P<per>/)|(?P<percent>\\?%)|(?P<mille>‰)|(?P<dot>\\cdot|\*)"
)
_SCALES_OF_DEGREES = ("celsius", "fahrenheit")
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3", "平方": "2", "立方": "3"}


def read_unit(text: str, is_apart: bool) -> tuple[Fraction, Unit, bool] | None:
    """Returns ``(scale, unit, is it a percentage)`` of what follows a number; None where that is no unit.

    ``5 cm^2``, ``5\\text{ cm}^2``, ``18 dollars per day``, ``3 million``, ``5元``, ``90^\\circ``. ``is_apart`` says
    that a blank stands between: only then is a single letter a unit (``5 m``) and no factor (``5m``).
    """
    plain = without_wrappers(_with_signs(re.sub(r"\}(?=[0-9])", "} ", text))).replace("per cent", "percent")
    plain = _MICRO_APART.sub("μ", plain) if "μ" in plain else plain
    found = _Parts(is_apart=is_apart or plain != text)
    for match in _tokens(plain.rstrip(" .*")):
        if match is None or len(found.over) + len(found.under) > WORDS + 2 or not found.take(match):
            return None
    unit = (*found.over, *(("/", *found.under) if found.under else ()))
    return None if found.power else (found.scale, unit, found.percent)


@dataclass
class _Parts:
    """What has been read of a unit: its words above and below the line, the scale before them, a power to come."""

    is_apart: bool
    over: list[str] = field(default_factory=list)
    under: list[str] = field(default_factory=list)
    is_under: bool = False
    scale: Fraction = Fraction(1)
    percent: bool = False
    power: str = ""

    def take(self, match: re.Match[str]) -> bool:
        """Reads one more word or sign, and says whether it may stand there."""
        word = (match["word"] or "").rstrip(".")
        if match["percent"] or word.lower() in PERCENT:
            self.percent = True
        elif match["per"] or word.lower() == "per":
            self.is_under = True
        elif match["dot"]:
            return bool(self.over)  # elsewhere a factor follows
        elif match["mille"]:
            self.scale /= 1000
        elif match["han"]:
            if (han := _chinese(match)) is None:
                return False
            self.scale *= han[0]
            self._side(False).extend(han[1])
        elif not self._word(word, match["power"] or ""):
            return False
        self.is_apart = True
        return True

    def _word(self, word: str, power: str) -> bool:
        lower, side = word.lower(), self._side(False)
        if lower in SCALES and not self.over:
            self.scale *= SCALES[lower]
        elif lower in _POWERS:
            self.power = _POWERS[lower]
            if side and lower in ("squared", "cubed"):
                side[-1], self.power = f"{side[-1]}^{self.power}", ""
        elif (several := COMPOUNDS.get(word) or COMPOUNDS.get(lower)) and not power:
            place = several.index("/") if "/" in several else len(several)
            side += several[:place]
            self.under += several[place + 1 :]
        elif not _is_unit(word, self.is_apart):
            return False
        else:
            exponent = power or self.power
            side = self._side(exponent.startswith("-"))
            side += _named(_one_spelling(word), exponent.removeprefix("-"), side)
            self.power = ""
        return True

    def _side(self, is_inverse: bool) -> list[str]:
        return self.under if self.is_under or is_inverse else self.over


def _with_signs(text: str) -> str:
    """``\\Omega`` and ``\\mu`` of LaTeX as letters, of which Unicode has two each, and ``\\cdot`` without braces."""
    if "\\" in text:
        text = _OHM.sub("Ω", _MICRO.sub("μ", text)).replace("{\\cdot}", "\\cdot ")
    return text.translate(_LETTERS)


def without_wrappers(text: str) -> str:
    r"""Returns ``5 km`` of ``5\text{ km}``."""
    return _WRAPPER.sub(lambda found: f" {found['inner'].strip()}", text) if "\\" in text else text


def _chinese(match: re.Match[str]) -> tuple[int, list[str]] | None:
    """Scale and unit of a Chinese ending; None of one that says something else (``5不对``)."""
    if match["han"][0] in "不是错没非":
        return None
    factor, name = _han(match["han"])
    return factor, [f"{name}^{match['cube']}" if match["cube"] else name] if name else []


def _named(name: str, exponent: str, before: list[str]) -> list[str]:
    """A word with its power, after those ``before``: ``degrees Celsius`` is ``celsius``."""
    if name in _SCALES_OF_DEGREES and before[-1:] == ["degree"]:
        before.pop()
    return [name + (f"^{exponent}" if exponent not in ("", "1") else "")]


def _tokens(text: str) -> Iterator[re.Match[str] | None]:
    """Words, signs and powers one after the other; None where there is anything else."""
    position = 0
    while position < len(text):
        if text[position] in " -'()~":
            position += 1
            continue
        match = _WORD.match(text, position)
        yield match
        if match is None:
            return
        position = match.end()


def units_agree(one: Unit, other: Unit) -> bool:
    """Whether two units may be the same: one is not named, or a word of them is; known units must be equal."""
    one, other = (tuple(word for word in unit if word not in _SMALL) for unit in (one, other))
    if (
        not one
        or not other
        or one == other
        or any(len(a) == len(b) == 1 and b[0] in _AMBIGUOUS.get(a[0], ()) for a, b in ((one, other), (other, one)))
    ):
        return True
    if all(map(_is_known, (*one, *other))):
        (over, under), (over_, under_) = (_sides(unit) for unit in (one, other))
        if over != over_:
            return False
        return under == under_ or (not (under and under_) and _goes_without_saying(over, under or under_))
    if any(word[0] > "\u3000" for word in (*one, *other)):
        return one[0].startswith(other[0]) or other[0].startswith(one[0])
    return bool(({*one} & {*other}) - {"/"})


def _sides(unit: Unit) -> tuple[Unit, Unit]:
    """What stands above and below the line, each in one order: ``N m`` is ``m N``."""
    place = unit.index("/") if "/" in unit else len(unit)
    return tuple(sorted(unit[:place])), tuple(sorted(unit[place + 1 :]))


def _goes_without_saying(over: Unit, under: Unit) -> bool:
    """Says whether ``per day`` may be left out: of money what it is for, of anything how often it comes."""
    return bool(over) and (over[0] in _MONEY or set(under) <= _REGULAR)


def is_known_unit(text: str) -> bool:
    """Whether a text is a unit by one of its usual names."""
    return text in KNOWN_UNITS or text in PERCENT


def currency(sign: str) -> Unit:
    """Returns the unit of a sign before a number."""
    return (KNOWN_UNITS[sign],) if sign in KNOWN_UNITS else ()


def _is_unit(word: str, is_apart: bool) -> bool:
    if len(word) == 1:
        return word in KNOWN_UNITS and (is_apart or not word.isalpha())
    return word.lower() not in NOT_A_UNIT and (is_apart or word in KNOWN_UNITS or word.lower() in KNOWN_UNITS)


def _one_spelling(word: str) -> str:
    for form in (word, word.lower(), word.lower().removesuffix("s")):
        if form in KNOWN_UNITS:
            return KNOWN_UNITS[form]
    lower = word.lower()
    if lower.endswith("ies") and len(lower) > 4:
        return f"{lower[:-3]}y"
    if lower.endswith(("shes", "ches", "xes", "sses")):
        return lower[:-2]
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else lower


def _is_known(word: str) -> bool:
    return word == "/" or word.partition("^")[0] in NAMES


def _han(text: str) -> tuple[int, str]:
    """The scale that a Chinese ending begins with, and the unit that follows."""
    factor = 1
    for size in (2, 1):
        if text[:size] in SCALES and text[: size + 1] not in KNOWN_UNITS:
            factor, text = SCALES[text[:size]], text[size:]
            break
    text = text.removeprefix("多").removeprefix("余")
    for prefix, power in (("平方", "2"), ("立方", "3")):
        if text.startswith(prefix) and text[2:] in KNOWN_UNITS:
            return factor, f"{KNOWN_UNITS[text[2:]]}^{power}"
    if text.startswith("每"):
        return factor, text
    return factor, KNOWN_UNITS.get(text, text)
