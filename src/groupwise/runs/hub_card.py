"""This module makes the card that a model has on the hub: what the run wrote, and its evaluation where the hub's tables
find it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.output.masking import masked
from groupwise.storage.atomic import RECORD
from groupwise.values.finite import is_finite

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
FRONT = re.compile(r"\A---\n(.*?)\n---\n", re.DOTALL)
MEASURES = {"greedy": "greedy accuracy", "pass_at_1": "pass@1"}


def hub_card(model: Path, repo: str, evaluation: Path | None = None) -> str:
    """Returns the card of a model directory as Markdown, its front matter with the results.

    ``evaluation``: a file of ``groupwise evaluate --json``, in place of what the model's run has found. Raises
    UserError for a file that holds none.
    """
    import yaml

    path = model / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    found = FRONT.match(text)
    try:
        said = yaml.safe_load(found[1]) if found else {}
    except yaml.YAMLError as error:
        raise UserError(
            f"{path}: its front matter is no YAML ({str(error).splitlines()[0]}); mend or remove it"
        ) from error
    said = said if isinstance(said, dict) else {}
    body = text[found.end() :] if found else text
    name = repo.rpartition("/")[2]
    results = _of_file(evaluation) if evaluation else _of_run(model)
    front: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"} | said
    front["tags"] = list(dict.fromkeys([*(front.get("tags") or ()), "groupwise"]))
    if (base := _base(model)) and "base_model" not in front:
        front["base_model"] = base
    if results:
        front["model-index"] = [{"name": name, "results": [_result(results)]}]
    body = body.strip() or f"# {name}"
    if evaluation or (results and "| measure |" not in body):
        body += f"\n\n{_table(results)}" if results else ""
    return masked(f"---\n{yaml.safe_dump(front, sort_keys=False, allow_unicode=True)}---\n\n{body}\n")


def _base(model: Path) -> str:
    """The hub's name of what the run began with; empty where that was no name of the hub's."""
    begun = (_json(model / RECORD).get("recipe") or {}).get("model")
    return begun if isinstance(begun, str) and HUB_NAME.fullmatch(begun) and not Path(begun).exists() else ""


def _of_run(model: Path) -> dict[str, Any]:
    """Returns what the run that left the model has found of it; empty where the model does not lie in a run."""
    path = model.resolve().parents[1] / "evaluation.json"
    models = _json(path).get("models") or ()
    own = (each for each in models if isinstance(each, dict) and each.get("stage") == model.resolve().name)
    return _whole(next((each.get("evaluation") for each in own), {}), path)


def _of_file(path: Path) -> dict[str, Any]:
    found = _json(path)
    models = found.get("models")
    found = models[0].get("evaluation", models[0]) if isinstance(models, list) and models else found
    if not isinstance(found.get("pass_at_1"), Mapping):
        raise UserError(f"{path}: holds no evaluation; expected what groupwise evaluate MODEL --json FILE wrote")
    return _whole(dict(found), path)


def _whole(found: Any, path: Path) -> dict[str, Any]:
    """Returns an evaluation whose every measure can be shown, or an empty one. Raises UserError for another."""
    try:
        known = dict(found)
        if known and not all(map(is_finite, (part for _, *parts, _ in _measures(known) for part in parts))):
            raise ValueError("a measure is no finite number")
        return known
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(
            f"{path}: holds an evaluation that is not whole ({error}); --evaluation FILE names another, as groupwise "
            "evaluate MODEL --json FILE writes it"
        ) from None


def _result(found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a result as the hub's metadata has it."""
    metrics = [
        {"type": name, "name": f"{name} (95 %: {low:.3f} to {high:.3f})", "value": round(value, 4)}
        for name, value, low, high, _ in _measures(found)
    ]
    task = str(found["task"])
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": f"{task}, held out", "type": re.sub(r"[^\w.-]+", "-", task)},
        "metrics": metrics,
    }


def _table(found: Mapping[str, Any]) -> str:
    judge = f" Correct is what the reward `{found['judge']}` calls so." if found.get("judge") else ""
    rows = "\n".join(
        f"| {name} | {problems} | {value:.3f} | {low:.3f} to {high:.3f} |"
        for name, value, low, high, problems in _measures(found)
    )
    return (
        f"Held-out problems of `{found['task']}`.{judge}\n\n"
        f"| measure | problems | value | 95 % interval |\n|---|---|---|---|\n{rows}\n"
    )


def _measures(found: Mapping[str, Any]) -> list[tuple[str, float, float, float, int]]:
    named = {title: found[name] for name, title in MEASURES.items()}
    for family in ("pass", "maj"):
        named |= {f"{family}@{k}": each for k, each in (found.get(f"{family}_at") or {}).items() if int(k) > 1}
    return [(name, m["value"], m["low"], m["high"], len(m["by_problem"])) for name, m in named.items()]


def _json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({error}); --evaluation FILE names another") from error
    return found if isinstance(found, dict) else {}
