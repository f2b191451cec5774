"""This module brings text into one way of writing: full-width and mathematical characters, and LaTeX that changes
nothing but the looks."""

from __future__ import annotations

import re
import unicodedata

ANSWER_CHARACTERS = 2_000
NESTING = 50

_ASCII = {code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}  # full-width forms
_DASHES = dict.fromkeys((0x2212, 0xFE63, 0x2010, 0x2011, 0x2012, 0x2013), "-")
_SPACES = dict.fromkeys((0x00A0, 0x2002, 0x2003, 0x2009, 0x200A, 0x202F, 0x3000), " ")
_NOTHING = dict.fromkeys((0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF, 0x2061, 0x2062), "")
_CHINESE = {0x3002: ".", 0x3001: ", ", 0x300C: "", 0x300D: "", 0x300E: "", 0x300F: "", 0x3010: "", 0x3011: ""}
_QUOTES = {0x2018: "'", 0x2019: "'", 0x201C: '"', 0x201D: '"'}
_FRACTIONS = {
    ord(character): rf"\frac{{{top}}}{{{bottom}}}"
    for character, top, bottom in (
        *(("½", 1, 2), ("⅓", 1, 3), ("⅔", 2, 3), ("¼", 1, 4), ("¾", 3, 4), ("⅕", 1, 5), ("⅖", 2, 5), ("⅗", 3, 5)),
        *(("⅘", 4, 5), ("⅙", 1, 6), ("⅚", 5, 6), ("⅛", 1, 8), ("⅜", 3, 8), ("⅝", 5, 8), ("⅞", 7, 8), ("⅐", 1, 7)),
        *(("⅑", 1, 9), ("⅒", 1, 10)),
    )
}
_SIGNS = {
    ord(character): f"\\{command} "
    for character, command in (
        *(("×", "times"), ("·", "cdot"), ("⋅", "cdot"), ("∙", "cdot"), ("±", "pm"), ("∓", "mp"), ("∞", "infty")),
        *(("≤", "le"), ("≥", "ge"), ("⩽", "le"), ("⩾", "ge"), ("≠", "ne"), ("≈", "approx"), ("∪", "cup")),
        *(("∩", "cap"), ("∈", "in"), ("∉", "notin"), ("∅", "emptyset"), ("⊂", "subset"), ("⊆", "subseteq")),
        *(("→", "to"), ("⇒", "implies"), ("∧", "land"), ("∨", "lor"), ("¬", "neg"), ("∖", "setminus")),
        *(("π", "pi"), ("θ", "theta"), ("α", "alpha"), ("β", "beta"), ("γ", "gamma"), ("δ", "delta")),
        *(("λ", "lambda"), ("φ", "phi"), ("ω", "omega"), ("σ", "sigma"), ("ρ", "rho"), ("τ", "tau"), ("ε", "epsilon")),
        *(("Δ", "Delta"), ("Ω", "Omega"), ("Σ", "Sigma"), ("Φ", "Phi"), ("Π", "Pi"), ("∑", "sum"), ("∫", "int")),
        *(("…", "ldots"), ("⟨", "langle"), ("⟩", "rangle"), ("∠", "angle"), ("△", "triangle")),
    )
}
_OTHERS = {
    ord("÷"): "/",
    ord("⁄"): "/",
    ord("∕"): "/",
    ord("∶"): ":",
    ord("°"): r"^\circ ",
    ord("º"): r"^\circ ",
    ord("℃"): r"^\circ C",
    ord("℉"): r"^\circ F",
    ord("ℝ"): r"\mathbb{R}",
    ord("ℤ"): r"\mathbb{Z}",
    ord("ℚ"): r"\mathbb{Q}",
    ord("ℕ"): r"\mathbb{N}",
    ord("ℂ"): r"\mathbb{C}",
    ord("′"): "'",
    ord("√"): "√",
}
_DIGITS = {zero + digit: str(digit) for zero in range(0x1D7CE, 0x1D7FF, 10) for digit in range(10)}
"""Of mathematical fonts."""
_CHARACTERS = _DIGITS | _ASCII | _DASHES | _SPACES | _NOTHING | _CHINESE | _QUOTES | _FRACTIONS | _SIGNS | _OTHERS
_OTHER_DIGITS = re.compile(r"[^\D0-9]+")
_MARKS_OF_SCRIPTS = {0x0964: ". ", 0x06D4: ". ", 0x066B: ".", 0x066C: ",", 0x066A: "%"}
"""Full stops of Hindi, Bengali and Urdu, and the marks of Arabic numbers."""
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ"
_LOWERED = "₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎ₙᵢ"
_LEVEL = "0123456789+-=()ni"
_RAISED_RUN, _LOWERED_RUN = re.compile(f"[{_RAISED}]+"), re.compile(f"[{_LOWERED}]+")
_TO_RAISED, _TO_LOWERED = str.maketrans(_RAISED, _LEVEL), str.maketrans(_LOWERED, _LEVEL)
_ROOT = re.compile(
    r"(?P<root>[√∛∜])\s*(?:\((?P<inner>[^()]{0,200})\)|\{(?P<braced>[^{}]{0,200})\}|(?P<one>[0-9]+(?:\.[0-9]+)?|\w))"
)

_LOOKS = re.compile(
    r"\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle|limits|nolimits|mathop)(?![a-zA-Z])\s*\.?"
    r"|(?<!\\)\\[!,;:>/]|(?<!\\)~|\\(?:thinspace|medspace|thickspace|negthinspace)(?![a-zA-Z])"
)
_SWITCHES = re.compile(
    r"\\(?:text)?color\s?\{[^{}]{0,40}\}|\\(?:underline|emph|ensuremath)(?=\s?\{)|\\mathbf\s?(?=\{[^{}a-zA-Z\\]{1,40}\})"
    r"|\\(?:bf|it|rm|sf|tt|bfseries|boldmath|itshape|normalsize|small|footnotesize|scriptsize|tiny|[lL]arge|LARGE|[hH]uge"
    r"|mathstrut|strut|scriptstyle|scriptscriptstyle)(?![a-zA-Z])\s?"
)
"""Colours, sizes and fonts."""
_SPACE_OF_UNITS = re.compile(r"(?<=[a-zA-Z])\\[,;:](?=[a-zA-Z])")
_THOUSANDS = re.compile(r",\s?\\!\s?|\{,\}(?:\\!)?")
_TWICE_ESCAPED = re.compile(
    r"(?<!\\)\\\\(?=(?:boxed|[dt]?frac|sqrt|left|right|text|cdot|times|pi|le|ge|leq|geq|in|infty|begin|end|pm|cup)(?![a-zA-Z]))"
)
"""LaTeX that was escaped once more than it should, as rows of data sets have it."""
_BRACED = re.compile(r"(?:\\text)?\{\s?(?P<mark>[-.:/])\s?\}")
"""A mark within braces, as in ``3{:}4`` and ``3\\text{-}5``."""
_WIDE_SPACE = re.compile(r"\\(?:quad|qquad|hspace\{[^{}]{0,20}\}|hfill|enspace)(?![a-zA-Z])|(?<!\\)\\(?= )|(?<!\\)\\$")
_SYNONYMS = re.compile(
    r"\\(?P<fraction>[dtc]frac|nicefrac|sfrac)(?![a-zA-Z])|\\(?P<relation>leq|geq|neq|leqslant|geqslant|varnothing|bigcup|bigcap|surd|backslash)(?![a-zA-Z_^])"
    r"|\\mathrm\s*\{\s*(?P<letter>[ie])\s*\}"
    r"|\\(?P<font>mathbf|boldsymbol|bm|mathit|mathsf|vec|overrightarrow|operatorname\*?)(?=\s*\{)"
    r"|\\(?P<dollar>\$)|\^\{?\s*\\(?P<degree>circ|degree)(?![a-zA-Z])\s*\}?|\\(?P<degrees>degree|degrees)(?![a-zA-Z])"
)
_RELATIONS = {
    "leq": r"\le",
    "geq": r"\ge",
    "neq": r"\ne",
    "leqslant": r"\le",
    "geqslant": r"\ge",
    "varnothing": r"\emptyset",
    "bigcup": r"\cup",
    "bigcap": r"\cap",
    "surd": r"\sqrt",
    "backslash": r"\setminus",
}
_SHORT_BINOMIAL = re.compile(r"\\[dt]?binom\s?(?P<n>[0-9])\s?(?P<k>[0-9])")
_GREEK = r"\\(?:pi|alpha|beta|gamma|theta|phi|lambda|omega)(?![a-zA-Z])"
_SHORT_FRACTION = re.compile(
    rf"\\frac\s*+(?:(?P<a>[0-9]|{_GREEK}|(?<=\s)[a-z])\s*+(?P<b>[0-9a-z]|{_GREEK})"
    rf"|(?P<c>[0-9]|{_GREEK}|(?<=\s)[a-z])\s*+(?=\{{)|(?P<open>(?=\{{)))"
)
_FRACTION_OF_ONE = re.compile(rf"\\frac\s*+(?P<top>\{{[^{{}}]{{1,60}}\}})\s*+(?P<bottom>[0-9a-z]|{_GREEK})")
_E_NOTATION = re.compile(
    r"(?<![\w.])(?P<number>[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)[eE](?P<power>[-+]?[0-9]{1,3})(?![\w.])"
)
_SIGN_WORD = re.compile(r"^(?:negative|minus|负)\s*+(?=[0-9.$\\√∞]|infinity)", re.IGNORECASE)
_DELIMITERS = (("$$", "$$"), (r"\[", r"\]"), (r"\(", r"\)"), ("$", "$"))
_MARKDOWN = (
    ('\\"', '\\"'),
    ("**", "**"),
    ("__", "__"),
    ("```", "```"),
    ("`", "`"),
    ('"', '"'),
    ("*", "*"),
    ("\u201c", "\u201d"),
)
_BARE_FUNCTION = re.compile(
    r"(?<![\\A-Za-z{])(?P<name>arcsin|arccos|arctan|sinh|cosh|tanh|sin|cos|tan|cot|sec|csc|log|ln|exp)(?![A-Za-z])"
)
_OF_A_VARIABLE = re.compile(r"[fghFGHpPqQ]\s?\(\s?[a-z](?:\s?,\s?[a-z]){0,3}\s?\)\s?=(?!=)\s?(?=\S)")
"""``f(x) =`` before what it is."""
_FOR_INTEGERS = re.compile(
    r"(?:\\text\{\s?,?\s?(?:for|where|with)\s?\}\s?)?"
    r"(?:\(?[a-z]\s?\\in\s?\\mathbb\s?\{?[ZN]\}?|\\text\{[^{}]{0,26}integers?\s?[a-z]?\s?\}\s?[a-z]?)\)?$"
)
_BEFORE_INTEGERS = re.compile(r"(?:,|\\qquad|\\quad|\\[ ;:,]|\\\(|\(|\s)$")
"""``, k \\in \\mathbb{Z}`` behind a formula, and what stands between."""
_INFINITY = re.compile(r"(?<![\\A-Za-z])(?:inf(?:inity)?|oo)(?![A-Za-z])")
_BIG_U = re.compile(r"(?<=[)\]])\s?U\s?(?=[(\[])")
_PI = re.compile(r"(?<![\\A-Za-z])[pP]i(?![A-Za-z])")
_TWO_STARS = re.compile(r"(?<=[\w)\]}])\s?\*\*\s?(?:(?P<power>-?[0-9]+)|(?=[\w(\\]))")


def in_ascii(text: str) -> str:
    """Returns the same in ASCII and LaTeX: ``√2`` is ``\\sqrt{2}``, ``½`` ``\\frac{1}{2}``, ``x²`` ``x^{2}``."""
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda run: f"^{{{run[0].translate(_TO_RAISED)}}}", text)
    text = _LOWERED_RUN.sub(lambda run: f"_{{{run[0].translate(_TO_LOWERED)}}}", text)
    return _ROOT.sub(_root, text.translate(_CHARACTERS))


def with_western_digits(text: str) -> str:
    """Returns a text with the digits of Arabic, Devanagari, Bengali, Thai and other scripts as 0 to 9."""
    if text.isascii():
        return text
    text = text.translate(_MARKS_OF_SCRIPTS)
    return _OTHER_DIGITS.sub(lambda found: "".join(str(unicodedata.decimal(digit)) for digit in found[0]), text)


def unescaped(text: str) -> str:
    r"""Returns the text with every backslash that was escaped written once: ``\boxed`` of ``\\boxed``."""
    return _TWICE_ESCAPED.sub(r"\\", text) if "\\\\" in text else text


def tidy(text: str) -> str:
    """A span of mathematics without what only changes its looks: delimiters, emphasis, sizes, thin spaces."""
    text = unwrapped(in_ascii(text))
    if "U" in text:
        text = _BIG_U.sub(r"\\cup ", text)
    if text[:1] in "nNmM负":
        text = _SIGN_WORD.sub("-", text)
    if text.count("$") - text.count("\\$") in (2, 4, 6):
        text = text.replace("\\$", "\x01").replace("$", "").replace("\x01", "\\$")
    if "{" in text:
        text = _BRACED.sub(r"\g<mark>", text)
    if "\\mathbb" in text or "integer" in text:
        text = _without_integers(text)
    if "\\colon" in text:
        text = text.replace("\\colon", ":")
    if r"\(" in text and r"\)" in text:
        text = text.replace(r"\(", "").replace(r"\)", "")
    if "\\" in text or "~" in text:
        text = _SPACE_OF_UNITS.sub(" ", text)
        text = _TWICE_ESCAPED.sub(r"\\", _THOUSANDS.sub(",", _SWITCHES.sub("", text)))
        text = _WIDE_SPACE.sub(" ", _LOOKS.sub("", text))
        text = _SYNONYMS.sub(_synonym, text)
        text = _FRACTION_OF_ONE.sub(r"\\frac\g<top>{\g<bottom>}", _SHORT_FRACTION.sub(_fraction, text))
        text = _SHORT_BINOMIAL.sub(r"\\binom{\g<n>}{\g<k>}", text)
    return unwrapped(" ".join(text.split()))


def _without_integers(text: str) -> str:
    """Returns ``3k+1`` of ``3k+1, k \\in \\mathbb{Z}``; any other text as it is."""
    found = _FOR_INTEGERS.search(text[-80:])
    if found is None:
        return text
    head = text[: len(text) - len(found[0])]
    while between := _BEFORE_INTEGERS.search(head[-6:]):
        head = head[: len(head) - len(between[0])]
    is_formula = len(head) <= 400 and not any(mark in head for mark in "<>,") and any(mark in head for mark in "=+-")
    return head if is_formula else text


def unwrapped(text: str) -> str:
    """Returns text without delimiters of mathematics and marks of emphasis around it, full stops and commas after
    it."""
    text = text.strip()
    for _ in range(8):
        before = text
        text = text.strip()
        if text.endswith((".", ",", ";", ":")) and not text.endswith(("...", r"\,", r"\;", r"\:")):
            text = text[:-1].rstrip()
        for opening, closing in (*_DELIMITERS, *_MARKDOWN):
            inner = text[len(opening) : -len(closing)]
            is_around = len(text) >= len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
            is_whole = inner.strip() and opening not in inner and closing not in inner and not inner.endswith("\\")
            if is_around and is_whole:
                text = inner
                break
        if text == before:
            break
    return text[:-1].rstrip() if text.endswith("$") and text.count("$") == 1 and not text.endswith("\\$") else text


def with_powers(latex: str) -> str:
    """``1.6e-19`` as ``1.6 \\times 10^{-19}``: algebra reads an ``e`` as Euler's number."""
    return _E_NOTATION.sub(lambda m: rf"{m['number']} \times 10^{{{int(m['power'])}}}", latex)


def with_commands(plain: str) -> str:
    """``2 pi``, ``ln(2)`` and ``x**2`` as ``2 \\pi``, ``\\ln(2)`` and ``x^2``, without ``f(x) =`` before it."""
    plain = _BARE_FUNCTION.sub(lambda found: f"\\{found['name']} ", _INFINITY.sub(r"\\infty", _PI.sub(r"\\pi ", plain)))
    plain = plain.replace(r"\log_e", r"\ln").replace(r"\log_{e}", r"\ln")
    if named := _OF_A_VARIABLE.match(plain):
        plain = plain[named.end() :]
    if "**" in plain:
        plain = _TWO_STARS.sub(lambda found: f"^{{{found['power']}}}" if found["power"] else "^", plain)
    return plain


def _root(match: re.Match[str]) -> str:
    inner = next(part for part in (match["inner"], match["braced"], match["one"]) if part is not None)
    return {"√": r"\sqrt", "∛": r"\sqrt[3]", "∜": r"\sqrt[4]"}[match["root"]] + f"{{{inner}}}"


def _synonym(match: re.Match[str]) -> str:
    if match["fraction"]:
        return r"\frac"
    if match["relation"]:
        return _RELATIONS[match["relation"]] + " "
    if match["letter"]:
        return match["letter"]
    if match["font"]:
        return r"\mathbf" if match["font"] in ("vec", "overrightarrow", "boldsymbol", "bm") else f"\\{match['font']}"
    return "$" if match["dollar"] else r"^\circ "


def _fraction(match: re.Match[str]) -> str:
    if match["a"]:
        return rf"\frac{{{match['a']}}}{{{match['b']}}}"
    return rf"\frac{{{match['c']}}}" if match["c"] else r"\frac"


_HUGE = re.compile(
    r"[0-9]{300}"
    r"|(?:\^|\*\*)[ ]?[{(]?[ ]?-?[0-9]{4}"
    r"|[0-9][ ]?(?:\^|\*\*)[ ]?[{(]?[ ]?[0-9]+[ ]?(?:\^|\*\*)"
    r"|[0-9]{4}[ ]?!|\([0-9 ^*{}]{4,50}\)[ ]?!|![ ]?!"
    r"|[0-9][eE][+-]?[0-9]{4}"
)


def within_bounds(text: str) -> bool:
    """Says whether a text is not longer or deeper than algebra can take, and no number too large to be written down."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return len(text) <= ANSWER_CHARACTERS and deepest <= NESTING and not _HUGE.search(text)
