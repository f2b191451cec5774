"""The names of units: every spelling with the one that stands for it, those with a prefix (``kW``, ``nanometers``) made
from their parts."""

from __future__ import annotations

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
    "teaspoon": "teaspoons tsp",
    "tablespoon": "tablespoons tbsp",
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
    "n": "newton newtons N 牛 牛顿",
    "j": "joule joules J 焦耳 焦",
    "w": "watt watts W 瓦 瓦特",
    "v": "volt volts V 伏 伏特",
    "k": "kelvin K",
    "ampere": "amperes amp amps A 安 安培",
    "ohm": "ohms Ω 欧 欧姆",
    "farad": "farads",
    "coulomb": "coulombs 库仑",
    "tesla": "teslas 特斯拉",
    "hz": "hertz Hz 赫兹",
    "pa": "pascal pascals Pa 帕",
    "mol": "mole moles 摩尔",
    "electronvolt": "electronvolts eV",
    "byte": "bytes B",
    "bit": "bits",
    "calorie": "calories cal 卡 卡路里",
    "atmosphere": "atmospheres atm",
}
_NOT_ALONE = frozenset({"n", "j", "w", "v", "k", "B"})
"""Letters that are a unit with a prefix or as a name of ours alone."""
_PREFIXES = {
    "tera": "T",
    "giga": "G",
    "mega": "M",
    "kilo": "k K",
    "milli": "m",
    "micro": "μ u",
    "nano": "n",
    "pico": "p",
}
_OTHERS = frozenset({"mm", "mg", "kg", "Kg", "km", "Km", "mL", "ml", "ML", "um", "ul", "pm", "us", "mb", "kb"})
"""Not made here: they stand above, or mean something else as well, as ``US dollars`` and ``pm`` do."""
_WITH_PREFIX = {
    **{"m": "meter metre m", "g": "gram g", "second": "second s", "l": "liter litre L l", "n": "newton N"},
    **{"j": "joule J", "w": "watt W", "v": "volt V", "hz": "hertz Hz", "pa": "pascal Pa", "mol": "mole mol"},
    **{"ampere": "ampere amp A", "ohm": "ohm Ω", "farad": "farad F", "coulomb": "coulomb C", "tesla": "tesla T"},
    **{"electronvolt": "electronvolt eV", "byte": "byte B", "bit": "bit b", "calorie": "calorie cal"},
}
"""Units that have prefixes, with their names and signs that these stand before."""


def _prefixed() -> dict[str, str]:
    found: dict[str, str] = {}
    for unit, written in _WITH_PREFIX.items():
        for prefix, signs in _PREFIXES.items():
            for word in written.split():
                is_name = len(word) > 2 and word not in ("mol", "cal")
                spelled = [f"{prefix}{word}", f"{prefix}{word}s"] if is_name else [one + word for one in signs.split()]
                found.update(dict.fromkeys(spelled, f"{prefix}-{unit}"))
    return {word: unit for word, unit in found.items() if word not in _OTHERS}


_NAMED = {word: name for name, words in _SPELLINGS.items() for word in (name, *words.split()) if word not in _NOT_ALONE}
_MICRO = {"um": "micro-m", "micron": "micro-m", "microns": "micro-m", "mcg": "micro-g"}
KNOWN_UNITS = _prefixed() | _MICRO | _NAMED
"""Every spelling and the unit's one name."""


def _without_capitals() -> dict[str, str]:
    """``kj`` and ``Mhz``: the first letter says whether it is mega or milli, which alone small ``mb``,
    ``mhz`` and ``mpa`` leave open. ``gb`` are bytes, as those who write small letters mean."""
    found: dict[str, str] = {}
    for word, name in KNOWN_UNITS.items():
        if len(word) > 1:
            is_plain = word[0] not in "mM" or name in ("mega-byte", "mega-hz", "mega-pa")
            for spelled in (word[0] + word[1:].lower(), *([word.lower()] if is_plain else [])):
                found.setdefault(spelled, name)
    return found


KNOWN_UNITS = _without_capitals() | KNOWN_UNITS
NAMES = frozenset(KNOWN_UNITS.values()) | {"n", "j", "w", "v", "k"}
COMPOUNDS: dict[str, tuple[str, ...]] = {
    "mph": ("mile", "/", "hour"),
    **dict.fromkeys(("kph", "kmh", "kmph"), ("km", "/", "hour")),
    "mpg": ("mile", "/", "gallon"),
    **{f"{sign}Wh": (KNOWN_UNITS.get(f"{sign}W", "w"), "hour") for sign in ("", "k", "M", "G", "T", "m")},
    "kwh": (KNOWN_UNITS["kW"], "hour"),
    **{"Ah": ("ampere", "hour"), "mAh": (KNOWN_UNITS["mA"], "hour")},
    **{"Nm": ("n", "m"), "kNm": (KNOWN_UNITS["kN"], "m"), "Js": ("j", "second")},
}
"""Words for several units together."""
