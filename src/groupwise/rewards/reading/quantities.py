"""This module reads numbers with their units, exactly."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from fractions import Fraction

from groupwise.rewards.reading.compounds import in_one_unit, share
from groupwise.rewards.reading.notation import tidy
from groupwise.rewards.reading.units import Unit, currency, is_known_unit, read_unit, without_wrappers

NUMBER_CHARACTERS = 200
LARGEST_EXPONENT = 100
LARGEST_POWER = 400
_HALF = Fraction(1, 2)

_DECIMAL = r"(?:(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]{1,3}(?: [0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]*)?|\.[0-9]+)"
_ATOM = rf"{_DECIMAL}(?:\^-?[0-9]{{1,4}}(?![0-9]))?"
_OTHER_GROUPS = re.compile(
    r"(?<![0-9.])(?P<dots>[0-9]{1,3}(?:\.[0-9]{3})+)"
    r"(?:(?P<comma>,[0-9]{1,12})|(?<=\.[0-9]{3}\.[0-9]{3}))(?![0-9.,])"
)
"""``1.234,56`` and ``1.234.567``, which are no other numbers."""
_UNDERSCORES = re.compile(r"(?<=[0-9])_(?=[0-9]{3}(?![0-9]))")
_COMMAS = re.compile(
    r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}(?![0-9,])"
    r"|(?P<spaced>[0-9]{1,3}(?: [0-9]{3})+,[0-9]{1,2})(?![0-9,.])"
    r"|(?P<decimal>[0-9]{1,9},(?:[0-9]{1,2}|[0-9]{4,12}))(?![0-9,.])"
)
_PLAIN = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
_NUMBER = re.compile(
    r"(?P<sign>[-+]?)\s*+(?P<currency>(?:US)?[$€£¥₹]?|(?:USD|EUR|GBP|INR|RMB|CNY|JPY|Rs\.?)(?=\s?[0-9]))\s*+(?P<inner>[-+]?)(?:"
    rf"(?P<whole>[0-9]+)\s++(?:and )?(?P<over>[0-9]+)\s*+/\s*+(?P<under>[0-9]+)"
    rf"|(?P<top>{_ATOM})(?:[eE](?P<exponent>[-+]?[0-9]{{1,3}})(?![0-9])"
    r"|\s*+(?:\\times|\\cdot|\*|x)\s*+10\^(?P<power>-?[0-9]{1,4})(?![0-9])"
    rf"|\s*+/\s*+(?P<bottom>-?{_ATOM})(?!\s*+/))?)"
)
_POWER = re.compile(r"(?:\^|\*\*)\s*\{\s*(?P<power>[-+]?[0-9]{1,4})\s*\}|\*\*(?=-?[0-9])")
_FRACTION = re.compile(
    r"(?P<before>[0-9]?)\s*+\\frac\{\s*(?P<top>[-+0-9.,^]+)\s*\}\s*\{?\s*"
    r"(?P<bottom>(?<=\{)[-+0-9.,^]+|(?<=\{ )[-+0-9.,^]+|[0-9])\s*\}?"
)
_REPEATING = re.compile(
    r"(?P<whole>[0-9]{0,9})\.(?P<fixed>[0-9]{0,9})\\(?:overline|bar|dot)\s*(?:\{(?P<again>[0-9]{1,9})\}|(?P<digit>[0-9]))"
    r"|(?<![0-9.])(?P<whole_>[0-9]{1,9})\.(?P<fixed_>[0-9]{0,9})\((?P<again_>[0-9]{1,9})\)"
    r"|(?<![0-9.])(?P<whole__>[0-9]{1,9})\.(?P<fixed__>[0-9]{0,9}?)(?P<again__>[0-9])(?P=again__){2,20}\s?(?:\.\.\.|\\l?dots(?![a-z]))"
)
"""``0.1\\overline{6}``, ``0.1(6)`` and ``0.1666...``."""
_UNIT_FRACTION = re.compile(
    r"^\s*\\frac\{\s*+(?:\\(?:text|mathrm)\{\s*+)?(?P<over>[a-zA-Z]{1,12})\s*\}{1,2}"
    r"\{\s*+(?:\\(?:text|mathrm)\{\s*+)?(?P<under>[a-zA-Z]{1,12})\s*\}?(?P<power>\^\{?[23]\}?)?\s*\}?$"
)
"""``\\frac{m}{s}`` and ``\\frac{m}{s^2}`` after a number."""
_ROUNDED = re.compile(r"\s?\\approx(?![a-zA-Z])\s*+(?P<whole>[$€£]?-?[0-9,]{1,20})(?![0-9.,/^])(?P<rest>[^=\\]{0,60})$")
_NAME = re.compile(
    r"(?P<name>(?:\\(?!text|frac|sqrt|mathbf)[a-zA-Z]+|[a-zA-Z]{1,4}|\\(?:text|mathrm)\{[^{}]{1,40}\})"
    r"(?:_\{?\w{1,8}\}?)?'{0,2}(?:\s*\(\s*-?\w{1,8}\s*\))?)\s*(?:=|\\approx|\\equiv|:=)\s*"
)
_MODULUS = re.compile(
    r"\s?(?:\\pmod\s?(?:\{\s?(?P<many>[0-9]{1,9})\s?\}|(?P<one>[0-9]))"
    r"|\(?(?:\\text\{\s?)?\\?[mb]?mod\s?\}?\s?(?P<plain>[0-9]{1,9})\)?)$"
)
_SHORT_SCALE = re.compile(r"(?:(?P<thousand>[kK])|(?P<million>[mM])|(?P<billion>[bB]n?))(?![a-zA-Z])")
"""Letters after an amount of money: ``$1.5K``."""
_MINUS_LETTERS = re.compile(r"-(?P<letters>[a-z]{1,3})[ .]{0,3}")


@dataclass(frozen=True)
class Quantity:
    """An exact number, with what it is a number of where that is said."""

    value: Fraction
    unit: Unit = ()
    percent: bool = False
    """``value`` counts hundredths."""
    name: str = ""
    """``x`` of ``x = 5``."""
    decimals: int = -1
    """Digits after the point, where it is written as a decimal."""
    whole: Fraction | None = None
    """What it also is where a whole number is asked for: 30 of ``30 out of 50``, 15 of ``14.6 \\approx 15``."""


def quantity(text: str, is_loose: bool = False) -> Quantity | None:
    """The number of ``18``, ``$18``, ``1,800.50 dollars``, ``1\\frac{1}{2}``, ``3 \\times 10^{-5}``, ``x = 5``.

    None of what is no number, or is more than one number and its unit. More than 200 characters are not a number, nor
    are exponents beyond 100. ``is_loose``: a letter that touches the number may be its unit, as in ``5m``.
    """
    if _PLAIN.fullmatch(text) and len(text) <= NUMBER_CHARACTERS:
        return Quantity(Fraction(text), decimals=len(text.partition(".")[2]))
    if len(text) > NUMBER_CHARACTERS or not any(character.isdigit() or ord(character) > 127 for character in text):
        return None
    if text.lstrip()[:2].lower() in ("0x", "0o", "0b"):
        return None  # of another base
    return tidy_quantity(tidy(text), is_loose)


def with_other_commas(text: str) -> str | None:
    """Returns ``12,34,567``, ``0,5`` and ``1_000`` as they are written in English, None of a text that begins with
    none of them.

    They may be lists and names: ask where one number is expected.
    """
    if "_" in text:
        plain = _UNDERSCORES.sub("", text)
        return plain if plain != text else None
    sign = text[: len(text) - len(text.lstrip("+-−$€£¥₹ "))]
    match = _COMMAS.match(text, len(sign))
    if match is None:
        return None
    plain = match[0].replace(" ", "").replace(",", "." if match["decimal"] or match["spaced"] else "")
    return sign + plain + text[match.end() :]


def tidy_quantity(text: str, is_loose: bool = False) -> Quantity | None:
    """Returns the :func:`quantity` of a text that is ``tidy``."""
    if len(text) > 2 * NUMBER_CHARACTERS:
        return None
    named = _NAME.match(text)
    name = "".join(named["name"].split()).replace("\\", "") if named else ""
    plain = _arithmetic(text[named.end() :] if named else text)
    if (parts := in_one_unit(without_wrappers(plain))) is not None:
        return Quantity(parts[0], (parts[1],), name=name)
    if rounded := _ROUNDED.search(plain):
        return _rounded(plain[: rounded.start()], rounded, name)
    shared = share(plain)
    plain = shared or plain
    if modulus := _MODULUS.search(plain):
        residue = tidy_quantity(plain[: modulus.start()])
        said = (f"mod {modulus['many'] or modulus['one'] or modulus['plain']}",)
        return replace(residue, unit=said, name=name) if residue and not residue.unit else None
    match = _NUMBER.match(plain)
    if match is None:
        return None
    value = _value(match)
    rest = _UNIT_FRACTION.sub(_unit_on_one_line, plain[match.end() :])
    if match["currency"] and (short := _SHORT_SCALE.match(rest)):
        rest = f" {short.lastgroup}{rest[short.end() :]}"
    if value is None or not _may_follow(rest) or _is_difference(rest):
        return None
    unit = read_unit(rest, is_apart=is_loose or rest[:1] in (" ", "-", ""))
    if unit is None:
        return None
    scale, words, percent = unit
    sign = currency(_currency_sign(match["currency"]))
    top = match["top"] or ""
    is_decimal = not (match["exponent"] or match["power"] or match["bottom"] or match["whole"] or "^" in top)
    decimals = len(top.partition(".")[2]) if is_decimal and scale == 1 else -1
    if shared is not None:
        part = Fraction(match["top"])
        return Quantity(value, name=name, whole=part if part > 1 and " out" in text else None)
    return Quantity(value * scale, sign + words if sign and words[:1] != sign else words, percent, name, decimals)


def _rounded(before: str, match: re.Match[str], name: str) -> Quantity | None:
    """``14.6 \\approx 15 people`` as what it is before, and its whole number; None where that is not near."""
    exact = tidy_quantity(before.rpartition("=")[2].strip())
    whole = tidy_quantity(match["whole"] + match["rest"])
    if exact is None or whole is None or exact.value.denominator == 1 or abs(exact.value - whole.value) > _HALF:
        return None
    return replace(whole, value=exact.value, name=name, decimals=-1, whole=whole.value)


def _currency_sign(written: str) -> str:
    """The sign, or the code as it stands among the units: ``usd``."""
    return written.lower().rstrip(".") if written.isalpha() or written == "Rs." else written.removeprefix("US")


def _is_difference(rest: str) -> bool:
    """Says whether letters behind a minus are variables: ``18-ab``, and not ``18-day``."""
    match = _MINUS_LETTERS.fullmatch(rest)
    return match is not None and not is_known_unit(match["letters"])


def _may_follow(rest: str) -> bool:
    """No letter, digit or sign of arithmetic goes on with the number itself."""
    after = rest.lstrip()
    return not after or (
        after[0] not in "0123456789+=<>|!_&;:,?@#{}[]" and not after.startswith(("^{", r"\frac", r"\sqrt"))
    )


def _arithmetic(text: str) -> str:
    """Powers and fractions of plain numbers on one line: ``2^{10}`` as ``2^10``, ``1\\frac{1}{2}`` as ``1 1/2``."""
    if "^" in text or "**" in text:
        text = _POWER.sub(lambda found: f"^{(found['power'] or '').lstrip('+')}", text)
    if r"\frac" in text:
        text = _FRACTION.sub(_on_one_line, text)
    if r"\overline" in text or r"\bar" in text or r"\dot" in text or "..." in text or "dots" in text or "(" in text:
        text = _REPEATING.sub(_repeating, text)
    text = text.replace("{,}", ",")
    if "." in text:
        text = _OTHER_GROUPS.sub(_with_english_marks, text)
    return _text_number(text)


def _with_english_marks(match: re.Match[str]) -> str:
    return match["dots"].replace(".", "") + (match["comma"] or "").replace(",", ".")


def _text_number(text: str) -> str:
    """``\\text{5}`` and ``\\mathrm{5 cm}`` begin with their number."""
    if text.startswith(("\\text{", "\\mathrm{", "\\mathbf{", "\\textbf{", "\\mbox{")) and text.endswith("}"):
        inner = text[text.index("{") + 1 : -1]
        return inner.strip() if "{" not in inner else text
    return text


def _repeating(match: re.Match[str]) -> str:
    r"""Writes a repeating decimal as a fraction: ``15/90`` of ``0.1\overline{6}``."""
    again = match["again"] or match["digit"] or match["again_"] or match["again__"]
    places = match["fixed"] or match["fixed_"] or match["fixed__"] or ""
    fixed = int(f"0{match['whole'] or match['whole_'] or match['whole__'] or ''}{places}")
    number = Fraction(int(f"{fixed}{again}") - fixed, (10 ** len(again) - 1) * 10 ** len(places))
    return f"{number.numerator}/{number.denominator}"


def _unit_on_one_line(match: re.Match[str]) -> str:
    return f" {match['over']}/{match['under']}{(match['power'] or '').replace('{', '').replace('}', '')}"


def _on_one_line(match: re.Match[str]) -> str:
    top, bottom, before = match["top"], match["bottom"], match["before"]
    if before:
        return f"{before} {top}/{bottom}" if top.isdigit() and bottom.isdigit() else match[0]
    return f"{top}/{bottom}"


def _value(match: re.Match[str]) -> Fraction | None:
    if match["sign"] and match["inner"]:
        return None
    if match["whole"] is not None:
        under = int(match["under"])
        value = None if under == 0 else int(match["whole"]) + Fraction(int(match["over"]), under)
    else:
        value = _quotient(match)
    return -value if value is not None and "-" in match["sign"] + match["inner"] else value


def _quotient(match: re.Match[str]) -> Fraction | None:
    top, bottom = _atom(match["top"]), _atom(match["bottom"] or "1")
    exponent = int(match["exponent"] or match["power"] or 0)
    if top is None or not bottom or abs(exponent) > LARGEST_EXPONENT:
        return None
    return top / bottom * Fraction(10) ** exponent


def _atom(text: str) -> Fraction | None:
    """A decimal or a power of one."""
    digits, _, power = text.replace(",", "").replace(" ", "").partition("^")
    sign = -1 if digits.startswith("-") else 1
    base = Fraction(digits.lstrip("-").rstrip(".") or "0")
    if not power:
        return sign * base
    exponent = int(power)
    if abs(exponent) > LARGEST_POWER or len(digits) > 20 or (base == 0 and exponent <= 0):
        return None
    return sign * base**exponent
