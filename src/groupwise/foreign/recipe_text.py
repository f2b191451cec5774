"""A draft as the text of a recipe file: Python that ``groupwise run`` takes."""

from __future__ import annotations

import io
import re
import textwrap
import tokenize
from collections.abc import Mapping, Sequence

from groupwise.foreign.draft import Draft
from groupwise.foreign.script import DataPath

SLOTS = "algorithm."
CALLED = re.compile(r"\b([A-Z]\w+)\(")
ELSEWHERE = {"Run", "Stage", "Task", "Local", "HeldOut", "Checkpoints", "Lora", "OnPolicy"}


def recipe_text(draft: Draft, name: str, source: str) -> str:
    """Writes a recipe. ``name`` names the run, ``source`` is what was converted, in words."""
    imports, code = _split(draft.script.code)
    ours = [_quoted(part) for part in (_task(draft, name), _run(draft, name))]
    body = "\n\n\n".join(part for part in [code, *ours] if part)
    head = _imports(imports, "\n".join(ours))
    return f"{_docstring(draft, name, source)}\n\n{head}\n\n\n{body}\n"


def _split(code: str) -> tuple[list[str], str]:
    """The imports at the top of carried code, and what follows."""
    lines = code.splitlines()
    first = next(
        (at for at, line in enumerate(lines) if not line.startswith(("import ", "from ")) and line), len(lines)
    )
    return [line for line in lines[:first] if line], "\n".join(lines[first:]).strip("\n")


def _quoted(text: str) -> str:
    """With double quotes, as ruff writes them: token by token, so that no text ends anywhere but where it did."""
    lines = text.splitlines()
    for token in reversed(list(tokenize.generate_tokens(io.StringIO(text).readline))):
        plain = token.string.strip("'")
        if token.type == tokenize.STRING and token.string == f"'{plain}'" and not {'"', "\\"} & set(plain):
            (row, start), (_, end) = token.start, token.end
            lines[row - 1] = f'{lines[row - 1][:start]}"{plain}"{lines[row - 1][end:]}'
    return "\n".join(lines)


def _docstring(draft: Draft, name: str, source: str) -> str:
    lines = [f"{draft.script.trainer} as {source} trains it with {draft.script.system}.", ""]
    lines += ["Written by groupwise convert; change it as you like.", "", f"    groupwise run {name}.py"]
    for title, said in (
        ("Assumed", draft.assumed),
        ("No place here", draft.unplaced),
        ("Without these the recipe is the same", draft.idle),
        ("Not read, because it has a value only when the script runs", draft.script.unread),
    ):
        if said:
            lines += ["", f"{title}:", ""]
            lines += [textwrap.fill(each, 116, initial_indent="* ", subsequent_indent="  ") for each in said]
    text = "".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in "\n".join(lines))
    text = text.replace("\\", "\\\\").replace('"""', "'''")
    return f'"""{text}\n"""' if "\n" in text else f'"""{text}"""'


def _imports(carried: Sequence[str], body: str) -> str:
    """Of the standard library and others, then ours."""
    used = set(CALLED.findall(re.sub(r"(?<!\w)\w++\.\w++\(", "", body))) - ELSEWHERE
    marks = {"Checkpoints(": "Checkpoints", "HeldOut(": "HeldOut", "Local(": "Local", "OnPolicy(": "OnPolicy"}
    marks |= {"Run": "Run", "Stage(": "Stage", "Task": "Task", "=mixed": "mixed", "recipes.": "recipes"}
    marks |= {"rewards.": "rewards", "tasks.": "tasks"}
    ours = sorted((name for mark, name in marks.items() if mark in body), key=lambda name: (name.islower(), name))
    standard = [
        *(["import math"] if "math." in body else []),
        *(["from dataclasses import replace"] if "replace(" in body else []),
    ]
    both = dict.fromkeys([*standard, *carried])
    first = sorted(both, key=lambda line: (line.startswith("from "), line))
    lines = [f"from groupwise import {', '.join(ours)}"]
    lines += [f"from groupwise.algorithm import {', '.join(sorted(used))}"] if used else []
    lines += ["from groupwise.learners.config import Lora"] if "Lora(" in body else []
    return "\n".join([*first, *([""] if first else []), *lines])


def _task(draft: Draft, name: str) -> str:
    """A function ``task_of``: the rows, what the script does to them, and the rewards."""
    signature = "def task_of(data: str, held_out: str | None) -> Task:"
    graded = f"({draft.rewards[0]},)" if len(draft.rewards) == 1 else _called("", draft.rewards, 4)
    rewards, worth = ([f"    graded = {graded}"], ["graded"]) if draft.rewards else ([], [])
    and_worth = ", and what answers are worth" if worth else ""
    columns = [f"{key}={value!r}" for key, value in draft.columns.items()]
    system = [f"system={draft.system!r}"] if draft.system else []
    data = draft.data or DataPath("")
    kept = draft.held_out or data
    if not data.changes and not kept.changes:
        more = [*([f"limit={draft.limit}"] if draft.limit else []), *columns, *system, f"name={name!r}"]
        given = ["data", *worth, "held_out=held_out", f"held_out_fraction={data.held_out_fraction:g}", *more]
        call = _called("tasks.from_file", given, 4)
        about = f'    """The rows as they stand{and_worth}."""'
        return "\n".join([signature, about, *rewards, f"    return {call}"])
    functions = [_examples("examples_of", data, columns)]
    other = "examples_of"
    if kept.changes != data.changes:
        other = "held_out_examples_of"
        functions.append(_examples(other, kept, columns))
    lines = [signature, f'    """The rows as the script makes them{and_worth}."""']
    lines += ["    examples = examples_of(data)", "    if held_out is None:"]
    lines += [f"        examples, kept = tasks.split(examples, {data.held_out_fraction:g}, seed=0)"]
    lines += ["    else:", f"        kept = {other}(held_out)", *rewards]
    lines += [f"    return {_called('Task', [repr(name), 'examples', *(worth or ['()']), 'kept', *system], 4)}"]
    return "\n\n\n".join([*functions, "\n".join(lines)])


def _examples(function: str, data: DataPath, columns: Sequence[str]) -> str:
    """What the script does to the rows of a file."""
    lines = [f"def {function}(path: str) -> list:", '    """The rows of a file as the script makes them."""']
    lines += ["    rows = tasks.read_rows(path)", *(f"    rows = {change}" for change in data.changes)]
    given = "".join(f", {each}" for each in columns)
    return "\n".join([*lines, f"    return tasks.examples(rows, tasks.recognise(rows{given}))"])


def _run(draft: Draft, name: str) -> str:
    """A function ``run``: its parameters are options of the recipe."""
    parameters = [_parameter("model", draft.model), _parameter("data", draft.data.path if draft.data else None)]
    parameters.sort(key=lambda each: "=" in each)
    parameters.append(_parameter("held_out", draft.held_out.path if draft.held_out else None, "str | None", "None"))
    head = f"def run({', '.join(parameters)}) -> Run:"
    if len(head) > 118:
        head = "def run(\n" + "".join(f"    {each},\n" for each in parameters) + ") -> Run:"
    stage = [repr(draft.stage), "method", "task", "steps=steps"]
    stage += [f"{key}={value}" for key, value in draft.options.items() if "." not in key and key != "seed"]
    whole = [repr(name), "model", "(stage,)", *_parts(draft)]
    lines = [
        head,
        '    """Each parameter is an option: --model, --data, --held_out."""',
        "    task = task_of(data, held_out)",
        f"    steps = {draft.steps}",
        f"    method = {_method(draft)}",
        f"    stage = {_called('Stage', stage, 4)}",
        f"    return {_called('Run', whole, 4)}",
    ]
    return "\n".join(lines)


def _parameter(name: str, value: str | None, kind: str = "str", default: str | None = None) -> str:
    if value is None:
        return f"{name}: {kind}" + (f" = {default}" if default else "")
    return f"{name}: {kind} = {str(value)!r}"


def _method(draft: Draft) -> str:
    """Writes the method with what is changed in it: ``replace(recipes.trl_1_16, ...)``."""
    base = f"recipes.{draft.method}"
    slots = dict(draft.slots)
    for slot, fields in _grouped(draft.options, SLOTS).items():
        if slot == "":
            slots |= fields
        else:
            inner = [slots.get(slot, f"{base}.{slot}"), *(f"{key}={value}" for key, value in fields.items())]
            slots[slot] = _called("replace", inner, 8)
    return _called("replace", [base, *(f"{key}={value}" for key, value in slots.items())], 4) if slots else base


def _parts(draft: Draft) -> list[str]:
    """Learner, engine, evaluation, checkpoints and the seed of a Run."""
    found = []
    for part, kind in (("learner", "Local"), ("evaluation", "HeldOut"), ("checkpoints", "Checkpoints")):
        grouped = _grouped(draft.options, f"{part}.")
        given = [f"{key}={value}" for key, value in grouped.get("", {}).items()]
        for key, fields in grouped.items():
            given += [f"lora={_called('Lora', [f'{k}={v}' for k, v in fields.items()], 12)}"] if key else []
        if given:
            found.append(f"{part}={_called(kind, given, 8)}")
    seed = draft.options.get("seed")
    return [*found, *([f"seed={seed}"] if seed else [])]


def _grouped(options: Mapping[str, str], prefix: str) -> dict[str, dict[str, str]]:
    """``algorithm.kl.coefficient`` -> ``{"kl": {"coefficient": ...}}``; what has one part lies under ``""``."""
    found: dict[str, dict[str, str]] = {}
    for name, value in options.items():
        if name.startswith(prefix):
            slot, _, key = name.removeprefix(prefix).rpartition(".")
            found.setdefault(slot, {})[key] = value
    return found


def _called(function: str, given: Sequence[str], indent: int) -> str:
    """A call, on one line where it fits."""
    line = f"{function}({', '.join(given)})"
    if len(line) + indent + 12 <= 120 and "\n" not in line:
        return line
    space = " " * indent
    return f"{function}(\n" + "".join(f"{space}    {each},\n" for each in given) + f"{space})"
