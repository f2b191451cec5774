"""This module writes the formulas of the methods' pages as LaTeX: they are written once, in the plain signs that a
terminal shows (``Σ_t w_t · GC``, ``π_θ(o_t | q, o_<t)``), and a site can draw them as mathematics."""

from __future__ import annotations

import re

GREEK = {
    "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta", "ε": r"\epsilon", "θ": r"\theta", "λ": r"\lambda",
    "μ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma", "τ": r"\tau", "φ": r"\varphi", "ψ": r"\psi", "ω": r"\omega",
    "η": r"\eta",
}  # fmt: skip
SIGNS = {
    "Σ": r"\sum", "Π": r"\prod", "∇": r"\nabla", "∂": r"\partial", "≥": r"\ge", "≤": r"\le", "·": r"\cdot",
    "~": r"\sim", "±": r"\pm", "←": r"\leftarrow", "√": r"\surd", "½": r"\tfrac{1}{2}", "²": "^2",
    "∞": r"\infty", "‖": r"\Vert", "*": r"\ast", "≠": r"\ne", "→": r"\rightarrow", "×": r"\times",
}  # fmt: skip
FUNCTIONS = frozenset(("min", "max", "clip", "log", "exp", "mean", "std", "var", "sg", "sign", "index", "greedy"))
FUNCTIONS |= {"softmax", "KL", "GC", "k1", "k2", "k3", "tanh", "gate", "correction"}
"""Words that stand upright; any other word of two letters or more is prose."""
TOKEN = re.compile(
    r"(?P<space>\s+)|(?P<number>\d+(?:[.,]\d+)*(?:e[+-]?\d+)?%?)|(?P<word>[A-Za-z][A-Za-z0-9'’]*)|(?P<mark>[_^])|(?P<one>.)",
    re.DOTALL,
)
PROSE = re.compile(r"^[A-Za-z][A-Za-z'’.]+$")
GAP = re.compile(r"\s{3,}")
"""Three blanks part a formula from what is said of it."""
OPENERS, CLOSERS = "([{", ")]}"


def latex(line: str) -> str:
    """The LaTeX of one line of plain signs."""
    parts = [part for part in GAP.split(line.strip()) if part]
    return r" \qquad ".join(_part(part) for part in parts)


def block(text: str) -> list[tuple[bool, str]]:
    """Each line of a block with whether it begins at the margin, continuations joined to the line before them."""
    lines: list[tuple[bool, str]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        if lines and re.match(r"\s*[-+] ", line):
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {line.strip()}")
        else:
            lines.append((not line.startswith(" "), line.strip()))
    return lines


def _part(text: str) -> str:
    tokens = [(match.lastgroup or "", match[0]) for match in TOKEN.finditer(text)]
    out, at, said = [], 0, []
    while at < len(tokens):
        kind, word = tokens[at]
        if kind == "word" and _is_prose(word) and not _argued(tokens, at):
            said.append(word)
            at += 1
            continue
        if said and kind == "space":
            at += 1
            continue
        if said and word in ",:;." and kind == "one":
            said[-1] += word
            at += 1
            continue
        if said:
            out.append(_text(said))
            said = []
        drawn, at = _next(tokens, at)
        out.append(drawn)
    if said:
        out.append(_text(said))
    return " ".join(part for part in out if part).replace(r"( \text{ ", r"( \text{")


def _text(words: list[str]) -> str:
    return rf"\text{{ {' '.join(words)} }}"


def _is_prose(word: str) -> bool:
    return len(word) > 1 and word not in FUNCTIONS and bool(PROSE.match(word))


def _argued(tokens: list[tuple[str, str]], at: int) -> bool:
    """Whether a word is a function or has an index: ``h(chosen)``, ``z_batch``."""
    return at + 1 < len(tokens) and tokens[at + 1][1] in "_^("


def _next(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    kind, word = tokens[at]
    if kind == "space":
        return "", at + 1
    if kind == "number":
        return _number(word), at + 1
    if kind == "word":
        return (word if len(word) == 1 else rf"\operatorname{{{word}}}"), at + 1
    if kind == "mark":
        return _index(tokens, at)
    if word == "(" and (drawn := _fraction(tokens, at)):
        return drawn
    if word in "{}":
        return rf"\{word}", at + 1
    return GREEK.get(word) or SIGNS.get(word) or _escaped(word), at + 1


def _number(word: str) -> str:
    if "e" not in word:
        return word.replace("%", r"\%").replace(",", "{,}")
    digits, power = word.split("e")
    return rf"{digits} \cdot 10^{{{int(power)}}}"


def _escaped(sign: str) -> str:
    return rf"\{sign}" if sign in "%#&$" else sign


def _index(tokens: list[tuple[str, str]], at: int) -> tuple[str, int]:
    """What stands below or above: one thing, ``<t``, or all between brackets."""
    mark, at = tokens[at][1], at + 1
    if at >= len(tokens):
        return "", at
    word = tokens[at][1]
    if word in ("{", "("):
        end = _closing(tokens, at)
        inner = "".join(text for _, text in tokens[at + 1 : end])
        body = _part(inner) if word == "{" else f"({_part(inner)})"
        return f"{mark}{{{body}}}", end + 1
    if word in "<≤>≥" and at + 1 < len(tokens):
        return f"{mark}{{{_next(tokens, at)[0]} {tokens[at + 1][1]}}}", at + 2
    if tokens[at][0] == "word" and len(word) > 1:
        return rf"{mark}{{\text{{{word}}}}}", at + 1
    if word in "+-":
        return f"{mark}{{{word}}}", at + 1
    below = _next(tokens, at)[0]
    if at + 2 < len(tokens) and tokens[at + 1][1] == mark == "_":
        deeper, at = _index(tokens, at + 1)
        return f"{mark}{{{below} {deeper}}}", at
    return f"{mark}{{{below}}}", at + 1


def _fraction(tokens: list[tuple[str, str]], at: int) -> tuple[str, int] | None:
    """A quotient between brackets and without a blank, ``(1/|o_i|)``, stands as a fraction."""
    end = _closing(tokens, at)
    inner = tokens[at + 1 : end]
    slashes = [index for index, (_, word) in enumerate(inner) if word == "/"]
    if len(slashes) != 1 or any(kind == "space" or word in OPENERS for kind, word in inner):
        return None
    above, below = ("".join(word for _, word in part) for part in (inner[: slashes[0]], inner[slashes[0] + 1 :]))
    return rf"\frac{{{_part(above)}}}{{{_part(below)}}}", end + 1


def _closing(tokens: list[tuple[str, str]], at: int) -> int:
    depth = 0
    for index in range(at, len(tokens)):
        word = tokens[index][1]
        depth += (word in OPENERS) - (word in CLOSERS)
        if depth == 0:
            return index
    return len(tokens) - 1
