"""Words for the pages: Markdown, and what dataclasses say of their fields."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields


def prose(text: str) -> str:
    """A docstring's words as Markdown: double backticks become single ones, papers become links."""
    text = re.sub(r"``(.+?)``", r"`\1`", text, flags=re.DOTALL)
    text = re.sub(r"(?<![\w./])(?:arXiv )?(\d{4}\.\d{5})(?!\d)", r"[arXiv \1](https://arxiv.org/abs/\1)", text)
    return re.sub(r"doi (10\.\d+/[\w./-]*\w)", r"[doi \1](https://doi.org/\1)", text)


def filled(text: str, indent: str = "") -> str:
    """Lines of at most 120 characters; all but the first are indented."""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def cell(text: str) -> str:
    """Returns code in a table's cell, which is one line: a break is written as in Python."""
    return f"`{text}`".replace("|", "\\|").replace("\n", "\\n")


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def plain(text: str) -> str:
    """Returns words in a table's cell: neither a column's end, nor struck through, nor a break."""
    return text.replace("|", "\\|").replace("~", "\\~").replace("\n", "\\n")


def documented(kind: type) -> Mapping[str, str]:
    """Field -> the string under it, on one line, as a table's cell has it."""
    body = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    found: dict[str, str] = {option.name: "" for option in fields(kind)}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            assert isinstance(field.target, ast.Name)
            said = " ".join(str(text.value.value).split())
            found[field.target.id] = plain(prose(said))
    return found


def written(value: object) -> str:
    """Returns a value as one would write it after an option, in one line."""
    if isinstance(value, tuple):
        return " ".join(map(written, value)) or "(none)"
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, float | int):
        return f"{value:g}"
    return str(value).replace("\n", "\\n") or "(none)"


def changed(value: object) -> dict[str, object]:
    """The fields that are not as they are by default."""
    given, options = vars(value), fields(value)  # type: ignore[arg-type]
    return {option.name: given[option.name] for option in options if given[option.name] != default_of(option)}


def default_of(option: Field[object]) -> object:
    """MISSING where it has none."""
    return option.default if option.default_factory is MISSING else option.default_factory()
