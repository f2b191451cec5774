"""The unit of a number, as words that can be compared: no unit is ever turned into another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

Unit = tuple[str, ...]
"""Words in their one spelling, ``/`` before what stands for "per"; empty: none is named."""

SCALES = {
    **{"hundred": 10**2, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12, "millions": 10**6},
    **{"thousands": 10**3, "billions": 10**9, "百": 10**2, "千": 10**3, "万": 10**4, "亿": 10**8, "百万": 10**6},
    **{"千万": 10**7, "万亿": 10**12},
}
WORDS = 5

_SPELLINGS = {
    "dollar": "$ usd dollars bucks us$ 美元 美金",
    "cent": "cents ¢ 美分",
    "euro": "€ euros eur 欧元",
    "pound-sterling": "£ gbp",
    "yen-or-yuan": "¥ ￥",
    "yuan": "rmb cny 元 块 元钱 块钱 人民币 yuans",
    "jiao": "角 毛",
    "fen": "分钱",
    "yen": "jpy 日元",
    "rupee": "₹ rupees rs inr",
    "mm": "millimeter millimetre millimeters millimetres 毫米",
    "cm": "centimeter centimetre centimeters centimetres 厘米 公分",
    "dm": "decimeter decimetre decimeters decimetres 分米",
    "m": "meter metre meters metres 米",
    "km": "kilometer kilometre kilometers kilometres 千米 公里",
    "inch": "inches in. 英寸",
    "foot": "feet ft 英尺",
    "yard": "yards yd yds 码",
    "mile": "miles mi 英里",
    "hectare": "hectares ha 公顷",
    "acre": "acres",
    "mg": "milligram milligrams 毫克",
    "g": "gram grams gm 克",
    "kg": "kilogram kilograms kilo kilos kgs 千克 公斤",
    "tonne": "ton tons tonnes t 吨",
    "pound": "pounds lb lbs 磅",
    "ounce": "ounces oz 盎司",
    "ml": "milliliter millilitre milliliters millilitres mL 毫升",
    "l": "liter litre liters litres L 升",
    "gallon": "gallons gal 加仑",
    "dozen": "dozens 打",
    "second": "seconds sec secs s 秒 秒钟",
    "minute": "minutes min mins 分钟",
    "hour": "hours hr hrs h 小时 个小时 时",
    "day": "days 天 日",
    "week": "weeks 周 星期 个星期",
    "month": "months 月 个月",
    "year": "years yr yrs 年 岁",
    "degree": "degrees deg 度 ^\\circ",
    "radian": "radians rad 弧度",
    "celsius": "centigrade C 摄氏度",
    "fahrenheit": "F 华氏度",
    "n": "newton newtons N 牛",
    "j": "joule joules J 焦耳 焦",
    "w": "watt watts W 瓦",
    "v": "volt volts V 伏",
    "k": "kelvin K",
    "hz": "hertz Hz 赫兹",
    "pa": "pascal pascals Pa 帕",
    "mol": "mole moles 摩尔",
}
KNOWN_UNITS = {
    word: name
    for name, words in _SPELLINGS.items()
    for word in (name, *words.split())
    if word not in ("n", "j", "w", "v", "k")
}
"""Every spelling and the unit's one name."""
_SPEEDS = {"mph": ("mile", "/", "hour"), **dict.fromkeys(("kph", "kmh", "kmph"), ("km", "/", "hour"))}
_AMBIGUOUS = {"pound": ("pound-sterling",), "yen-or-yuan": ("yen", "yuan")}
"""Words and signs that mean more than one: ``£5`` is ``5 pounds``, ``¥5`` is ``5 yuan``."""
_MONEY = frozenset({"dollar", "cent", "euro", "pound-sterling", "yuan", "yen", "yen-or-yuan", "jiao", "fen", "rupee"})
PERCENT = frozenset({"%", "\\%", "percent", "pct", "percentage", "percents"})
NOT_A_UNIT_TEXT = """
and or plus minus times over to x half k b bn below negative not but nor versus vs is are was were
be if so then because since as by from with than that which who what when where while unless however although
though quarter third thirds quarters halves point divided multiplied equals equal between either neither also
therefore out isn wasn aren wrong incorrect pi
"""
NOT_A_UNIT = frozenset(NOT_A_UNIT_TEXT.split())
_SMALL = frozenset(
    {"of", "the", "a", "an", "in", "total", "more", "left", "each", "every", "all", "altogether", "away"}
)
_WRAPPER = re.compile(
    r"\\(?:text|mathrm|mbox|textbf|textrm|mathbf|textit|hbox|operatorname|rm)\s*\{(?P<inner>[^{}]*)\}"
)
_WORD = re.compile(
    r"(?P<word>\^\\circ|[$€£¥₹¢]|[a-zA-Zµμ]+\.?)(?:\^?\{?(?P<power>-?[1-9])\}?)?|(?P<han>[\u4e00-\u9fff]+)(?:\^\{?(?P<cube>[23])\}?)?"
    r"|(?P<per>/)|(?P<percent>\\?%)|(?P<mille>‰)|(?P<dot>\\cdot|\*)"
)
_SCALES_OF_DEGREES = ("celsius", "fahrenheit")
_POWERS = {"square": "2", "squared": "2", "sq": "2", "cubic": "3", "cubed": "3", "cu": "3", "平方": "2", "立方": "3"}


def read_unit(text: str, is_apart: bool) -> tuple[Fraction, Unit, bool] | None:
    """Returns ``(scale, unit, is it a percentage)`` of what follows a number; None where that is no unit.

    ``5 cm^2``, ``5\\text{ cm}^2``, ``18 dollars per day``, ``3 million``, ``5元``, ``90^\\circ``. ``is_apart`` says
    that a blank stands between: only then is a single letter a unit (``5 m``) and no factor (``5m``).
    """
    plain = without_wrappers(re.sub(r"\}(?=[0-9])", "} ", text)).replace("per cent", "percent")
    is_apart = is_apart or plain != text
    words: list[str] = []
    scale, percent, power = Fraction(1), False, ""
    for match in _tokens(plain.rstrip(" .*")):
        if match is None or len(words) > WORDS + 2:
            return None
        word = (match["word"] or "").rstrip(".")
        lower = word.lower()
        if match["percent"] or lower in PERCENT:
            percent = True
        elif match["per"] or lower == "per":
            words.append("/")
        elif match["han"]:
            if (han := _chinese(match)) is None:
                return None
            scale, words = scale * han[0], words + han[1]
        elif match["mille"]:
            scale /= 1000
        elif lower in SCALES and not words:
            scale *= SCALES[lower]
        elif lower in _POWERS:
            power = _POWERS[lower]
            if words and lower in ("squared", "cubed"):
                words[-1], power = f"{words[-1]}^{power}", ""
        elif lower in _SPEEDS:
            words += _SPEEDS[lower]
        elif word and not _is_unit(word, is_apart):
            return None
        elif word:
            words, power = words + _named(_one_spelling(word), match["power"] or power, words), ""
        is_apart = True
    return None if power else (scale, tuple(words), percent)


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
    """A word with its power, after those ``before``: ``h^{-1}`` is ``/ h``, and ``degrees Celsius`` is ``celsius``."""
    if name in _SCALES_OF_DEGREES and before[-1:] == ["degree"]:
        before.pop()
    per = ["/"] if exponent.startswith("-") and "/" not in before else []
    exponent = exponent.removeprefix("-1" if exponent == "-1" else "-")
    return [*per, name + (f"^{exponent}" if exponent else "")]


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
        heads = [unit[: unit.index("/")] if "/" in unit else unit for unit in (one, other)]
        return heads[0] == heads[1] and bool(heads[0]) and heads[0][0] in _MONEY and ("/" in one) != ("/" in other)
    if any(word[0] > "\u3000" for word in (*one, *other)):
        return one[0].startswith(other[0]) or other[0].startswith(one[0])
    return bool(({*one} & {*other}) - {"/"})


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
    return word == "/" or word.partition("^")[0] in _SPELLINGS


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
