"""This module writes ``report.html``: a whole run in one file that opens from disk, without a server and without a
network."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.report.alarms import alarms
from groupwise.report.evaluation import evaluation, summary
from groupwise.report.groups import groups
from groupwise.report.markup import Html, duration, element, join, number
from groupwise.report.scorers import scorers
from groupwise.report.texts import texts
from groupwise.report.training import training
from groupwise.sinks.jsonl import read_metrics
from groupwise.storage.atomic import write_atomically
from groupwise.storage.json_rows import read_rows

Json = Mapping[str, Any]


SHOWN_ITEMS = 8  # of a list in the header; the resolved recipe has all


def write_report(run_directory: Path) -> Path:
    """Renders a run directory to ``report.html`` inside it and returns that path.

    Reads ``run.json`` and, where they are there, ``metrics.jsonl`` with ``times.jsonl``, ``alarms.jsonl``,
    ``evaluation.json`` and ``groups.json``; the report says which are missing. Everything of the run is escaped, and a
    content security policy lets nothing but the report's own script run and nothing be fetched. Raises UserError where
    ``run.json`` is missing or a file is not JSON.
    """
    run = _read(run_directory / "run.json")
    if run is None:
        raise UserError(f"{run_directory} has no run.json, so it is not a run directory: name the directory of a run")
    evaluated = _read(run_directory / "evaluation.json") or {"models": [], "comparison": None}
    rows = read_metrics(run_directory)
    shown = _read(run_directory / "groups.json") or []
    models, comparison = evaluated["models"], evaluated.get("comparison")
    evaluations = evaluation(models, comparison) if models else []
    evaluations += scorers(evaluated.get("scorers", []))
    evaluations += texts(evaluated.get("texts", []))
    body = join(
        [
            _header(run, summary(models, comparison) if models else Html()),
            _section("Evaluation", evaluations, "evaluation.json"),
            *([_section("Alarms", alarms(read_rows(run_directory / "alarms.jsonl")), "alarms.jsonl")] if rows else []),
            _section("Training", training(rows, run.get("stages", [])), "metrics.jsonl"),
            _section("Groups", [_how_to_read(shown), *groups(shown)] if shown else [], "groups.json"),
        ]
    )
    path = run_directory / "report.html"
    write_atomically(path, _page(f"{run['name']} · Groupwise report", body))
    return path


def _page(title: str, body: Html) -> str:
    template, style, script = (_asset(f"report.{kind}") for kind in ("html", "css", "js"))
    script_hash = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = {"title": join([title]), "body": body, "style": style, "script": script, "script_hash": script_hash}
    return Template(template).substitute(parts)


def _asset(name: str) -> str:
    return files("groupwise.report").joinpath(name).read_text(encoding="utf-8")


def _header(run: Json, result: Html) -> Html:
    recipe = run.get("recipe", {})
    tasks = [stage["task"] for stage in recipe.get("stages", []) if stage.get("task")]
    facts = {
        "Model": _words(run.get("model", recipe.get("model"))),
        "Stages": " → ".join(f"{stage['name']}, {counted(stage['steps'], 'step')}" for stage in run.get("stages", [])),
        "Data": " · ".join(dict.fromkeys(filter(None, (task.get("source") for task in tasks)))),
        "Rewards": " · ".join(dict.fromkeys(filter(None, map(_rewards, tasks)))),
        "Adapters": _adapters(recipe.get("learner", {}).get("lora") or {}),
        "Machine": _words(run.get("machine")),
        "Versions": _words(run.get("versions")),
        "Started": _when(run.get("started")),
        "Total time": duration(run["seconds"]) if run.get("seconds") is not None else "not finished",
    }
    rows = [part for name, text in facts.items() if text for part in (element("dt", name), element("dd", text))]
    resolved = json.dumps(recipe, indent=2, ensure_ascii=False)
    folded = element("details", element("summary", "Resolved recipe"), element("pre", resolved, class_="recipe"))
    title = [element("p", "Groupwise run", class_="eyebrow"), element("h1", run["name"])]
    return element("header", *title, result, element("dl", *rows, class_="about"), folded)


def _rewards(task: Json) -> str:
    """``math, format × 0.2; correct: by math``."""
    rewards = [_inner(each) for each in task.get("rewards", ())]
    said = ", ".join(name if weight == 1 else f"{name} × {weight:g}" for name, weight in rewards)
    judge = next(iter([*map(_inner, task.get("referee", ())), *rewards]), ("", 1.0))[0]
    return f"{said}; correct: by {judge}" if said else ""


def _inner(reward: Json) -> tuple[str, float]:
    """Name and weight, also of one that is kept or weighted by another around it."""
    name, weight = _inner(reward["reward"]) if isinstance(reward.get("reward"), Mapping) else (str(reward["is"]), 1.0)
    return str(reward.get("name", name)), float(reward.get("weight", weight))


def _adapters(lora: Json) -> str:
    """Empty where all weights are trained."""
    if not lora.get("rank"):
        return ""
    return f"LoRA of rank {lora['rank']} and alpha {number(lora['alpha'])} on {', '.join(lora['targets'])}"


def _words(value: Any) -> str:
    """A mapping as ``name value · name value``, a list with commas, anything else as it prints; empty parts left out.

    ``is`` is how a recipe names the kind of a component.
    """
    if isinstance(value, Mapping):
        told = [(name.replace("_", " "), _words(part)) for name, part in value.items()]
        return " · ".join(text if name == "is" else f"{name} {text}" for name, text in told if text)
    if isinstance(value, (list, tuple)):
        more = f" and {len(value) - SHOWN_ITEMS} more" if len(value) > SHOWN_ITEMS else ""
        return ", ".join(map(_words, value[:SHOWN_ITEMS])) + more
    return "" if value is None else str(value)


def _when(started: float | str | None) -> str:
    """Unix time as a local date and time; text as it stands."""
    if not isinstance(started, (int, float)):
        return started or ""
    return datetime.fromtimestamp(started).astimezone().strftime("%d %B %Y, %H:%M %Z")


def _section(title: str, parts: Sequence[Html], source: str) -> Html:
    missing = element("p", f"This run directory has no {source}, so this part is left out.", class_="note")
    return element("section", element("h2", title), *(parts or [missing]), aria_label=title)


def _how_to_read(shown: Sequence[Json]) -> Html:
    episodes = any(group.get("opening") for group in shown)
    return element(
        "p",
        "Each token is painted by its gradient coefficient, the derivative of the objective by the token's "
        "log-probability: blue tokens were made more likely, red ones less, the stronger the colour the more. Colours "
        "are to scale within a group. Completions that are alike are shown once."
        + (" What an environment or a tool said is grey: the model reads it, and is not trained on it." * episodes),
    )


def _read(path: Path) -> Any:
    if not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}:{error.lineno} is not JSON ({error.msg}): restore the file, or delete it") from error
