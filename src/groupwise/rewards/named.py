"""A reward by what stands after ``--reward``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.answers import FinalAnswer
from groupwise.rewards.math import Math
from groupwise.rewards.model import Kind, ModelReward
from groupwise.rewards.program_answers import ProgramAnswer
from groupwise.rewards.programs import Code
from groupwise.rewards.published import PRESETS
from groupwise.rewards.signatures import as_reward

BUILT_IN: dict[str, Callable[[], Reward]] = {"answer": FinalAnswer, "math": Math, "code": Code, **PRESETS}
SCORERS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
EXPECTED = (
    f"expected {', '.join(BUILT_IN)}, {', '.join(f'{kind}:DIR' for kind in SCORERS)}, path/to/file.py:function or "
    "module.path:function"
)


def by_name(spec: str) -> Reward:
    """``math``, ``answer``, ``code``, a published rule (``gsm8k``, ``tora`` ...), where numbers are compared within a
    tolerance if one follows (``math:relative 1e-4``); ``path/to/file.py:function`` or ``module.path:function``; and a
    learned reward, ``outcome:DIR`` or ``process:DIR`` (:class:`ModelReward`), which has its directory's name.

    The file or module is imported, which runs it. What stands after the colon is a function that
    :func:`as_reward` takes, or a reward. Raises UserError, with the nearest name, where there is no such thing.
    """
    if spec in BUILT_IN:
        return BUILT_IN[spec]()
    kind, _, model = spec.partition(":")
    if kind in BUILT_IN and model and isinstance(built_in := BUILT_IN[kind](), FinalAnswer | Math | ProgramAnswer):
        return replace(built_in, tolerance=model)
    if kind in SCORERS and model:
        return ModelReward(model, SCORERS[kind], name=Path(model).name)
    if Path(spec).is_dir() or Path(model or "nothing").is_dir():
        scorers = " or ".join(f"{kind}:{model or spec}" for kind in SCORERS)
        raise UserError(f"unknown reward '{spec}': for a reward model's directory expected {scorers}")
    source, _, name = spec.rpartition(":")
    if not source or not name:
        raise UserError(f"unknown reward '{spec}'{_suggestion(spec, list(BUILT_IN))}; {EXPECTED}")
    module = _load(source, spec)
    if not hasattr(module, name):
        raise UserError(f"{source} has no '{name}'{_suggestion(name, _functions(module))} (from the reward '{spec}')")
    return as_reward(getattr(module, name))


def _load(source: str, spec: str) -> ModuleType:
    try:
        return _load_file(Path(source), spec) if source.endswith(".py") else importlib.import_module(source)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(f"reward '{spec}': importing {source} raised {type(error).__name__}: {what}") from error


def _load_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        near = _suggestion(path.name, [file.name for file in path.parent.glob("*.py")])
        raise UserError(f"reward '{spec}': there is no file {path}{near}")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    module_spec: Any = importlib.util.spec_from_file_location(f"groupwise_reward_{path.stem}_{digest}", path)
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses and pickle look a module up by its name
    module_spec.loader.exec_module(module)
    return module


def _functions(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if inspect.isfunction(value) and not name.startswith("_")]


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f", perhaps you meant '{near[0]}'" if near else ""
