"""This module writes MathML as LaTeX: in one pass over its tags, without recursion and without an XML parser, so that
neither depth nor entities of a hostile page cost anything. Symbols' names are those of mathml-to-latex."""

from __future__ import annotations

import html
import re
from dataclasses import dataclass, field
from functools import lru_cache

from groupwise.corpus.mathml_names import ACCENTS, FENCES, FUNCTIONS, PLAIN, VARIANTS

TAG = re.compile(
    r"<(?P<close>/?)(?:\w{1,20}:)?(?P<name>[a-zA-Z-]{1,30})(?P<attributes>[^<>]*?)(?P<alone>/?)>|(?P<text>[^<]+)"
)
ANNOTATION = re.compile(
    r"<(?:\w{1,20}:)?annotation\b[^<>]*encoding\s*=\s*[\"'][^\"'<>]*tex[^\"'<>]*[\"'][^<>]*>(?P<tex>[^<]*)<",
    re.IGNORECASE,
)
ATTRIBUTE = re.compile(r"(?<![\w:-])([\w:-]{1,40})\s{0,9}=\s{0,9}(?:\"([^\"]*)\"|'([^']*)')")
HIDDEN = {"annotation", "annotation-xml", "mphantom", "maligngroup", "malignmark", "script", "style", "none"}
DEEPEST = 200
"""Elements in elements; a formula that is deeper is left out."""
BLANK = re.compile(r"\s+")


@dataclass
class Element:
    """An element is being read: its name, and the LaTeX of each child so far."""

    name: str
    attributes: str = ""
    children: list[str] = field(default_factory=list)

    def attribute(self, name: str, default: str = "") -> str:
        """Returns the value of an attribute; the default where there is none."""
        found = {each: first or second for each, first, second in ATTRIBUTE.findall(self.attributes)}
        return found.get(name, default)


def latex_of(markup: str) -> str:
    """The LaTeX of a ``<math>`` element: its annotation where it has one in TeX, else converted; empty where it is too
    deep or holds nothing."""
    annotated = ANNOTATION.search(markup)
    if annotated and annotated["tex"].strip():
        return _unstyled(html.unescape(annotated["tex"]).strip())
    stack = [Element("mrow")]
    hidden = 0
    for found in TAG.finditer(markup):
        name = (found["name"] or "").lower()
        if found["text"] is not None:
            text = BLANK.sub(" ", _resolved(found["text"])).strip()
            if text and not hidden:
                stack[-1].children.append(text if stack[-1].name in LEAVES else _symbols(text))
        elif name in HIDDEN:
            hidden = max(hidden + (-1 if found["close"] else 1), 0) if not found["alone"] else hidden
            if name == "none" and not found["close"] and not hidden:
                stack[-1].children.append("")
        elif hidden:
            continue
        elif found["close"]:
            _close(stack, name)
        elif found["alone"]:
            stack[-1].children.append(_written(Element(name, found["attributes"])))
        else:
            stack.append(Element(name, found["attributes"]))
            if len(stack) > DEEPEST:
                return ""
    while len(stack) > 1:
        _close(stack, stack[-1].name)
    return BLANK.sub(" ", " ".join(stack[0].children)).strip()


def _resolved(text: str) -> str:
    """Entities by HTML's names, once: none is ever expanded into others."""
    return html.unescape(text) if "&" in text else text


def _unstyled(tex: str) -> str:
    r"""Returns ``x`` of ``{\displaystyle x}``: the formula without the style around it."""
    for style in ("{\\displaystyle", "{\\textstyle"):
        if tex.startswith(style) and tex.endswith("}"):
            return tex[len(style) : -1].strip()
    return tex


def _close(stack: list[Element], name: str) -> None:
    """Ends the innermost element of this name, and those in it; a name that is not open ends nothing."""
    if not any(each.name == name for each in stack[1:]):
        return
    while len(stack) > 1:
        done = stack.pop()
        stack[-1].children.append(_written(done))
        if done.name == name:
            return


SPECIAL, ESCAPED = re.compile(r"(?<!\\)[$%#&_]"), r"\\\g<0>"
"""Signs that mean something else in LaTeX, in text too: a dollar would end the formula."""
LEAVES = {"mi", "mn", "mo", "mtext", "ms"}


def _written(element: Element) -> str:
    name, parts = element.name, element.children
    if name in LEAVES:
        return _leaf(name, " ".join(parts), element)
    if name in SHAPES:
        shape, count = SHAPES[name]
        parts = [*parts, *[""] * (count - len(parts))]
        return shape.format(*(each.strip() for each in parts[:count]), base=_grouped(parts[0])) + " ".join(
            parts[count:]
        )
    if name in ("mover", "munder"):
        return _accented(name, [*parts, "", ""][:2])
    if name == "msqrt":
        return f"\\sqrt{{{' '.join(parts)}}}"
    if name == "mfenced":
        return _fenced(element)
    if name == "mspace":
        return " "
    return COMBINED.get(name, _row)(element)


SHAPES = {
    "mfrac": ("\\frac{{{0}}}{{{1}}}", 2),
    "mroot": ("\\sqrt[{1}]{{{0}}}", 2),
    "msup": ("{base}^{{{1}}}", 2),
    "msub": ("{base}_{{{1}}}", 2),
    "msubsup": ("{base}_{{{1}}}^{{{2}}}", 3),
    "munderover": ("{base}_{{{1}}}^{{{2}}}", 3),
}


def _leaf(name: str, text: str, element: Element) -> str:
    if not text:
        return " " if name == "mtext" else ""
    if name in ("mtext", "ms"):
        return f"\\text{{{SPECIAL.sub(ESCAPED, text)}}}" if re.search(r"[^\W\d_]", text) else _symbols(text)
    if name == "mi" and text in FUNCTIONS:
        return f"\\{text}"
    variant = VARIANTS.get(element.attribute("mathvariant"), "")
    tex = _symbols(text)
    if variant and not (variant == "mathrm" and len(text) == 1):
        return f"\\{variant}{{{tex}}}"
    if name == "mi" and len(text) > 1 and text.isalpha() and text.isascii():
        return f"\\mathrm{{{text}}}"
    return tex


def _symbols(text: str) -> str:
    """Every letter beyond ASCII by its name in LaTeX."""
    if text.isascii() and not any(letter in text for letter in "%$#&_{}"):
        return text
    return BLANK.sub(" ", "".join(_symbol(letter) for letter in text)).strip()


@lru_cache(maxsize=4096)
def _symbol(letter: str) -> str:
    if letter in PLAIN:
        named = PLAIN[letter]
    elif letter.isascii():
        return letter
    else:
        from mathml_to_latex import syntax

        tables = (syntax.all_math_symbols_by_glyph, syntax.all_math_operators_by_glyph, syntax.math_number_by_glyph)
        named = next((table[letter] for table in tables if letter in table), "")
        named = named or syntax.HashUTF8ToLtXConverter().convert(letter)
    return f"{named} " if re.fullmatch(r"\\[a-zA-Z]+", named) else named


def _grouped(base: str) -> str:
    bare = base.strip()
    return bare if re.fullmatch(r".?|\\[a-zA-Z]+|\\?[()\[\]|{}]|\d+", bare) else f"{{{bare}}}"


def _accented(name: str, parts: list[str]) -> str:
    base, mark = (each.strip() for each in parts)
    accent = ACCENTS.get(mark) or {"\\to": "vec", "\\bar{ }": "bar", "\\_": "underline"}.get(mark)
    if accent:
        return f"\\{accent}{{{base}}}"
    if base in ("\\lim", "\\max", "\\min", "\\sup", "\\inf", "\\sum", "\\prod", "\\int"):
        return f"{base}_{{{mark}}}" if name == "munder" else f"{base}^{{{mark}}}"
    return f"\\{'underset' if name == 'munder' else 'overset'}{{{mark}}}{{{base}}}"


def _fenced(element: Element) -> str:
    first, last = element.attribute("open", "("), element.attribute("close", ")")
    mark = element.attribute("separators").strip()[:1] or ","
    return f"{FENCES.get(first, first)}{f'{mark} '.join(element.children)}{FENCES.get(last, last)}"


def _row(element: Element) -> str:
    return " ".join(element.children)


def _table(element: Element) -> str:
    return f"\\begin{{matrix}}{' '.join(element.children).rstrip().removesuffix(chr(92) * 2).strip()}\\end{{matrix}}"


def _table_row(element: Element) -> str:
    return " & ".join(each.strip() for each in element.children) + " \\\\ "


def _enclosed(element: Element) -> str:
    inside = " ".join(element.children)
    notation = element.attribute("notation") or "longdiv"
    if "strike" in notation:
        return f"\\cancel{{{inside}}}"
    if notation == "longdiv":
        return f"\\overline{{){inside}}}"
    if notation == "radical":
        return f"\\sqrt{{{inside}}}"
    return f"\\overline{{{inside}}}" if notation == "top" else f"\\boxed{{{inside}}}"


def _scripts(element: Element) -> str:
    """``mmultiscripts``: pairs of a subscript and a superscript, those after ``mprescripts`` before the base."""
    base, *rest = element.children or [""]
    cut = rest.index(PRESCRIPTS) if PRESCRIPTS in rest else len(rest)
    after, before = rest[:cut], rest[cut + 1 :]
    left = "".join(_pair(before[place : place + 2]) for place in range(0, len(before), 2))
    right = "".join(_pair(after[place : place + 2]) for place in range(0, len(after), 2))
    return f"{'{}' + left if left else ''}{_grouped(base)}{right}"


def _pair(scripts: list[str]) -> str:
    sub, sup = (each.strip() for each in [*scripts, ""][:2])
    return (f"_{{{sub}}}" if sub else "") + (f"^{{{sup}}}" if sup else "")


PRESCRIPTS = "\0"
COMBINED = {
    "mtable": _table,
    "mtr": _table_row,
    "mlabeledtr": _table_row,
    "menclose": _enclosed,
    "mmultiscripts": _scripts,
    "mprescripts": lambda element: PRESCRIPTS,
}
