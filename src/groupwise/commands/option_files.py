"""This module reads and writes files of options: TOML or YAML, read as flags and written from them.

A key is an option without its dashes; a table is a prefix, so that ``[kl] coefficient = 0.02`` is
``--kl.coefficient 0.02``. ``method`` (or ``recipe``) says what is run.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from groupwise.commands.flags import Flag, refuse_twice
from groupwise.commands.prompt_options import CHAT, template_value
from groupwise.errors import UserError

TOML, YAML = (".toml",), (".yaml", ".yml")
SUFFIXES = (*TOML, *YAML)
BARE = re.compile(r"true|false|-?(0|[1-9]\d*)(\.\d+)?([eE][-+]?\d+)?")
"""Values that stand without quotes."""


def read_options(path: str) -> list[Flag]:
    """The flags of a file. Raises UserError, with file, key and the line where it is known, for what cannot be read."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; expected a TOML or YAML file of options") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: can't be read: {error}") from error
    if not path.lower().endswith(SUFFIXES):
        raise UserError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}, which says how to read it")
    flags = list(_from_yaml(path, text) if path.lower().endswith(YAML) else _from_toml(path, text))
    refuse_twice(flags)
    return flags


def write_options(path: Path, flags: Iterable[Flag]) -> None:
    """A file that ``read_options`` reads as these flags: a line each, flags of one name as one list.

    Raises UserError where the name says neither TOML nor YAML, or the file cannot be written.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path}: expected a name that ends in {', '.join(SUFFIXES)}")
    between = " = " if path.suffix.lower() in TOML else ": "
    values: dict[str, tuple[str, ...]] = {}
    several: set[str] = set()
    for flag in flags:
        several |= {flag.name} if flag.name in values or len(flag.values) != 1 else set()
        values[flag.name] = (*values.get(flag.name, ()), *flag.values)
    lines = []
    for name, texts in values.items():
        items = [_written(name, text, path) for text in texts]
        lines.append(f"{_key(name)}{between}{'[' + ', '.join(items) + ']' if name in several else items[0]}\n")
    try:
        path.write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: can't be written: {error.strerror or error}") from error


def _key(name: str) -> str:
    return name if re.fullmatch(r"[\w.-]+", name, re.ASCII) else _quoted(name)


def _written(name: str, text: str, path: Path) -> str:
    if name.startswith(CHAT):
        value = template_value(text)
        return _inline(value) if path.suffix.lower() in TOML else json.dumps(value, ensure_ascii=False)
    return text if BARE.fullmatch(text) else _quoted(text)


def _inline(value: Any) -> str:
    """Returns the TOML of a value that JSON knows."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_quoted(key)} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


def _quoted(text: str) -> str:
    """A JSON string is one of TOML and of YAML, but for DEL, which they want escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _from_toml(path: str, text: str) -> Iterator[Flag]:
    try:
        table = tomllib.loads(text, parse_float=_Number)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise UserError(f"{path}: nested more deeply than can be read; options are flat") from error
    yield from _of_table(table, "", path)


class _Number(str):
    """A number as it is written."""


def _of_table(table: Mapping[str, Any], prefix: str, path: str) -> Iterator[Flag]:
    for key, value in table.items():
        name = f"{prefix}{key}"
        if name.startswith(CHAT):
            yield Flag(name, (_json(value),), path)
            continue
        name = name.replace("-", "_")
        if isinstance(value, dict):
            yield from _of_table(value, f"{name}.", path)
        else:
            yield Flag(name, _texts(value, f"{path}: {name}"), path)


def _json(value: Any) -> str:
    return json.dumps(_plain(value), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return float(value) if isinstance(value, _Number) else value


def _texts(value: Any, where: str) -> tuple[str, ...]:
    items = value if isinstance(value, list) else [value]
    for item in items:
        if not isinstance(item, str | bool | int | float):
            raise UserError(f"{where}: {item!r} is no value of an option; expected text, a number, true or false")
    return tuple(str(item).lower() if isinstance(item, bool) else str(item) for item in items)


def _from_yaml(path: str, text: str) -> Iterator[Flag]:
    """Scalars are taken as they are written: no ``no`` becomes false, and ``1e-6`` stays a number."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except RecursionError as error:
        raise UserError(f"{path}: nested more deeply than can be read; options are flat") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if root is None:
        return
    if not isinstance(root, yaml.MappingNode):
        raise UserError(f"{path}: expected keys with values, such as 'steps: 200'")
    yield from _of_mapping(root, "", path)


def _of_mapping(node: Any, prefix: str, path: str) -> Iterator[Flag]:
    import yaml

    for key, value in node.value:
        place = f"{path}, line {key.start_mark.line + 1}"
        if not isinstance(key, yaml.ScalarNode):
            raise UserError(f"{place}: a key is no text; expected the name of an option")
        name = f"{prefix}{key.value}"
        if name.startswith(CHAT):
            yield Flag(name, (_json(yaml.SafeLoader("").construct_document(value)),), place)
            continue
        name = name.replace("-", "_")
        if isinstance(value, yaml.MappingNode):
            yield from _of_mapping(value, f"{name}.", path)
        else:
            items = value.value if isinstance(value, yaml.SequenceNode) else [value]
            yield Flag(name, tuple(_text(item, f"{place}: {name}") for item in items), place)


def _text(node: Any, where: str) -> str:
    import yaml

    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        raise UserError(f"{where}: no value of an option; expected text, a number, true or false")
    return str(node.value)
