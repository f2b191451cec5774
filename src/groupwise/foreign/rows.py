"""This module says where a script's rows come from: ``load_dataset`` and what is chained to it."""

from __future__ import annotations

import ast
import re
from pathlib import PurePosixPath
from typing import Any

from groupwise.foreign.literals import Unknown, shown, value_of
from groupwise.foreign.script import DataPath
from groupwise.foreign.user_code import Module

WITHOUT_EFFECT = {"shuffle", "remove_columns", "select_columns", "with_format", "set_format", "flatten_indices"}
FORMATS = ("json", "csv", "parquet", "text")
MOST_CHANGES = 30
MOST_DEPTH = 5


def data_path(node: ast.expr, module: Module, needed: list[ast.AST], depth: int = 0) -> DataPath:
    """The rows of an expression. ``needed`` gets the functions they are made by. Raises Unknown with the reason where
    they are not known without running the script."""
    changes: list[str] = []
    split, fraction = "", 0.0
    at: ast.expr | None = node
    before: ast.AST = module.call
    for _ in range(MOST_CHANGES):
        at = module.followed(at, before)
        before = at if at is not None and isinstance(node, ast.Name) else before
        if isinstance(at, ast.Subscript):
            split, at = _split(at, split, module), at.value
            continue
        if not isinstance(at, ast.Call):
            break
        name = (
            at.func.attr if isinstance(at.func, ast.Attribute) else at.func.id if isinstance(at.func, ast.Name) else ""
        )
        if name in ("load_dataset", "load_from_disk", "from_json", "from_csv", "from_parquet"):
            path, cut = _loaded(at, module, name, split)
            return DataPath(path, (*cut, *reversed(changes)), fraction)
        if isinstance(at.func, ast.Name) and name in module.functions and depth < MOST_DEPTH:
            inner, returned = module.inside(module.functions[name], at)
            found = data_path(returned, inner, needed, depth + 1)
            both = (*found.changes, *reversed(changes))
            return DataPath(found.path, both, fraction or found.held_out_fraction)
        if not isinstance(at.func, ast.Attribute):
            break
        if name == "train_test_split":
            fraction, split = _keyword(at, "test_size", module, 0.25), ""
            fraction = fraction if isinstance(fraction, float) and 0 < fraction < 1 else 0.1
        elif name not in WITHOUT_EFFECT:
            change = _change(at, name, module, needed)
            if change is None:
                raise Unknown(f"the rows {shown(node)} (line {node.lineno}): .{name}(...) at line {at.end_lineno}")
            changes.append(change)
        at = at.func.value
    what = shown(at) if at is not None else shown(node)
    raise Unknown(f"the rows {shown(node)} (line {node.lineno}): {what}")


def _change(call: ast.Call, name: str, module: Module, needed: list[ast.AST]) -> str | None:
    """``.map(f)``, ``.filter(f)``, ``.select(range(n))``, ``.rename_column(a, b)`` as an expression of ``rows``."""
    keywords = {each.arg: each.value for each in call.keywords}
    first = call.args[0] if call.args else keywords.get("function")
    if name in ("map", "filter") and isinstance(first, ast.Lambda | ast.Name):
        if {"batched", "with_indices", "fn_kwargs"} & set(keywords):
            return None
        if isinstance(first, ast.Name) and first.id not in module.functions:
            return None
        needed.append(module.functions[first.id] if isinstance(first, ast.Name) else first)
        text = module.as_function(first) if isinstance(first, ast.Lambda) else first.id
        if name == "map":
            return f"[(at, {{**row, **{text}(row)}}) for at, row in rows]"
        return f"[(at, row) for at, row in rows if {text}(row)]"
    try:
        if name == "select" and isinstance(first, ast.Call) and ast.unparse(first.func) == "range":
            bounds = [value_of(each, module.value) for each in first.args]
            return f"rows[{':'.join(str(int(bound)) for bound in ([0, *bounds] if len(bounds) == 1 else bounds))}]"
        if name == "rename_column" and len(call.args) == 2:
            old, new = (str(value_of(each, module.value)) for each in call.args)
            renamed = f"{{{new!r} if name == {old!r} else name: value for name, value in row.items()}}"
            return f"[(at, {renamed}) for at, row in rows]"
    except (Unknown, TypeError, ValueError):
        return None
    return None


def _split(node: ast.Subscript, split: str, module: Module) -> str:
    try:
        part = value_of(node.slice, module.value)
    except Unknown:
        return split
    return split or (part if isinstance(part, str) else "")


def _keyword(call: ast.Call, name: str, module: Module, default: Any) -> Any:
    node = next((each.value for each in call.keywords if each.arg == name), None)
    try:
        return default if node is None else value_of(node, module.value)
    except Unknown:
        return default


def _loaded(call: ast.Call, module: Module, name: str, split: str) -> tuple[str, list[str]]:
    """As ``from_file`` takes it, a file, a directory, or ``org/name/config:split``; and what is cut off it."""
    where = f"the rows {shown(call)} (line {call.lineno})"
    try:
        given = [value_of(each, module.value) for each in call.args]
        known = [each for each in call.keywords if each.arg in ("path", "name", "split", "data_files", "data_dir")]
        named = {each.arg: value_of(each.value, module.value) for each in known}
    except Unknown as unknown:
        raise Unknown(f"{where}: {unknown}") from unknown
    path = str(named.get("path", given[0] if given else ""))
    if name != "load_dataset":
        return path, []
    part, cut = _part(str(named.get("split") or split or "train"), where)
    files = named.get("data_files")
    if isinstance(files, dict):
        files = files.get(part) or next(iter(files.values()), None)
    if isinstance(files, list):
        files = files[0] if len(files) == 1 else None
    if path in FORMATS:
        if not files:
            raise Unknown(f"{where}: several files, or none")
        return str(files), cut
    if files:
        raise Unknown(f"{where}: files of a hub's data set; download them first")
    if PurePosixPath(path).suffix in (".jsonl", ".json", ".csv", ".parquet"):
        return path, cut
    config = named.get("name", given[1] if len(given) > 1 else None)
    config = f"/{config}" if config and config != "default" else ""
    return f"{path}{config}{f':{part}' if part != 'train' else ''}", cut


def _part(split: str, where: str) -> tuple[str, list[str]]:
    """``train[:100]`` as a name and a change of rows. Raises Unknown for shares and sums of parts."""
    found = re.fullmatch(r"(\w+)(?:\[(\d*):(\d*)\])?", split)
    if found is None:
        raise Unknown(f"{where}: the part {split} of the rows")
    return found[1], [f"rows[{found[2]}:{found[3]}]"] if found[2] or found[3] else []
