"""A reward by what stands after ``--reward``."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_args

from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.answers import FinalAnswer
from groupwise.rewards.format import Format, LengthPenalty
from groupwise.rewards.math import Math
from groupwise.rewards.model import Kind, ModelReward
from groupwise.rewards.neighbours import belongs_to, importable
from groupwise.rewards.program_answers import ProgramAnswer
from groupwise.rewards.programs import Code
from groupwise.rewards.published import PRESETS
from groupwise.rewards.scale import EXPECTED_SCALES, is_scale, scale_named
from groupwise.rewards.signatures import as_reward
from groupwise.rewards.weighted import weighted

THOUGHT_THEN_ANSWER = r"\s*<think>.*?</think>\s*<answer>.*?</answer>\s*"
"""Of ``format`` where no pattern follows: the form that DeepSeek-R1's rule asks for (arXiv 2501.12948)."""
CACHE_SHARE = 5
"""``length:N`` punishes within the last fifth of N tokens, as the published 4096 of 20480."""

BUILT_IN: dict[str, Callable[[], Reward]] = {
    "answer": FinalAnswer,
    "math": Math,
    "code": Code,
    "format": lambda: Format(THOUGHT_THEN_ANSWER),
    "length": LengthPenalty,
    **PRESETS,
}
SCORERS: dict[str, Kind] = {kind: kind for kind in get_args(Kind)}
EXPECTED = (
    f"expected {', '.join(BUILT_IN)}, format:PATTERN, length:TOKENS, {', '.join(f'{kind}:DIR' for kind in SCORERS)}, "
    "path/to/file.py:function or module.path:function, each with a weight such as *0.2 after it"
)
_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")


def by_name(spec: str) -> Reward:
    """The reward of that name, with its weight where one is written after a star: ``math``, ``format*0.2``.

    * ``math``, ``answer``, ``code``: rules that compare with the row's answer or tests; ``gsm8k``, ``deepseekmath``,
      ``tora``, ``pal``, ``math_verify``: published ones. Where they compare numbers, ``math:relative 1e-4`` states a
      tolerance.
    * ``format`` (a thought, then an answer, each between its tags) or ``format:PATTERN``; ``length:TOKENS``,
      ``length:TOKENS,CACHE`` or ``length:TOKENS,CACHE,MISSING_EOS`` (:class:`LengthPenalty`).
    * ``outcome:DIR``, ``process:DIR``: a learned reward (:class:`ModelReward`), which has its directory's name;
      ``outcome:DIR,SCALE`` with its scale: ``standardised``, ``sigmoid`` or ``clipped -5 5``.
    * ``path/to/file.py:function`` or ``module.path:function``: what :func:`as_reward` takes, or a reward. The file or
      module is imported, which runs it.

    A weight may be negative. Raises UserError, with the nearest name, where there is no such thing.
    """
    bare, weight = weight_of(spec)
    found = _named(bare)
    return found if weight is None else weighted(found, weight)


def weight_of(spec: str) -> tuple[str, float | None]:
    """Returns what stands before the star, and the weight after it; None where none is written.

    Raises UserError where what follows the star is no finite number. In a pattern it then belongs to the pattern.
    """
    bare, star, number = (part.strip() for part in spec.rpartition("*"))
    if not star:
        return spec, None
    value = float(number) if _NUMBER.fullmatch(number) else math.nan
    if math.isfinite(value) and bare:
        return bare, value
    if spec.startswith("format:"):
        return spec, None
    raise UserError(
        f"reward '{spec}': what follows * is its weight, and {number or 'nothing'} is none; expected a number after a "
        f"name, such as {bare or 'math'}*0.2"
    )


def _named(spec: str) -> Reward:
    if spec in BUILT_IN:
        return BUILT_IN[spec]()
    if spec == "steps":
        raise UserError(
            "reward 'steps' is the rule of the task stepwise (--data stepwise, --task stepwise), which knows what each "
            "step should be; for other data process:DIR scores steps, or a reward of your own whose Score has steps"
        )
    kind, _, model = spec.partition(":")
    if kind in BUILT_IN and model and isinstance(rule := BUILT_IN[kind](), FinalAnswer | Math | ProgramAnswer):
        return replace(rule, tolerance=model)
    if kind in SCORERS and model:
        return _scorer(spec, SCORERS[kind], model)
    if kind == "format" and model:
        return Format(model)
    if kind == "length" and model:
        return _length(spec, model)
    if Path(spec).is_dir() or Path(model or "nothing").is_dir():
        scorers = " or ".join(f"{kind}:{model or spec}" for kind in SCORERS)
        raise UserError(f"unknown reward '{spec}': for a reward model's directory expected {scorers}")
    source, _, name = spec.rpartition(":")
    if spec.removesuffix(":").endswith(".py"):
        _refuse_file_alone(spec.removesuffix(":"), spec)
    if not source or not name:
        if spec.endswith(".py"):
            raise UserError(f"unknown reward '{spec}': it names no function; expected {spec}:function")
        raise UserError(f"unknown reward '{spec}'{_suggestion(spec, list(BUILT_IN))}; {EXPECTED}")
    module = _load(source, spec)
    if not hasattr(module, name):
        raise UserError(f"{source} has no '{name}'{_suggestion(name, _functions(module))} (from the reward '{spec}')")
    return as_reward(getattr(module, name))


def _refuse_file_alone(source: str, spec: str) -> NoReturn:
    """Raises UserError for a file without the name of a function, with the names that it has."""
    names = _functions(_load(source, spec))
    there = f"it has {', '.join(names)}" if names else "it has none"
    raise UserError(
        f"reward '{spec}': expected the name of a function behind the file, such as "
        f"{source}:{names[0] if names else 'score'}; {there}"
    )


def _scorer(spec: str, kind: Kind, words: str) -> Reward:
    """A directory may have a comma in its name, so the last one begins a scale only where no such directory is."""
    directory, comma, scale = words.rpartition(",")
    if not comma or (not is_scale(scale) and Path(words).exists()):
        return ModelReward(words, kind, name=Path(words).name)
    if kind == "process" or not directory.strip():
        raise UserError(
            f"reward '{spec}': expected {kind}:DIR alone, steps are probabilities already"
            if kind == "process"
            else f"reward '{spec}': expected outcome:DIR,SCALE; SCALE is {EXPECTED_SCALES}"
        )
    try:
        return ModelReward(directory.strip(), kind, scale=scale_named(scale), name=Path(directory.strip()).name)
    except UserError as error:
        raise UserError(f"reward '{spec}': {error}") from None


def _length(spec: str, numbers: str) -> Reward:
    most, *rest = [part.strip() for part in numbers.split(",")]
    whole = all(part.isascii() and part.isdecimal() for part in (most, *rest[:1]))
    if len(rest) > 2 or not whole or not all(_NUMBER.fullmatch(part) for part in rest[1:]):
        raise UserError(
            f"reward '{spec}': expected length:TOKENS, length:TOKENS,CACHE or length:TOKENS,CACHE,MISSING_EOS, such as "
            "length:512,128,1"
        )
    cache = int(rest[0]) if rest else max(1, int(most) // CACHE_SHARE)
    return LengthPenalty(int(most), cache, missing_eos=float(rest[1]) if len(rest) > 1 else 0.0)


def _load(source: str, spec: str) -> ModuleType:
    try:
        return _load_file(Path(source), spec) if source.endswith(".py") else importlib.import_module(source)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(f"reward '{spec}': importing {source} raised {type(error).__name__}: {what}") from error


class _AsItStands(SourceFileLoader):
    """This loader compiles the file anew, so that an edit within a second counts, and leaves nothing beside it."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        return self.source_to_code(self.get_data(path), path)


def _load_file(path: Path, spec: str) -> ModuleType:
    if not path.is_file():
        near = _suggestion(path.name, [file.name for file in path.parent.glob("*.py")])
        raise UserError(f"reward '{spec}': there is no file {path}{near}")
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]
    name = f"groupwise_reward_{path.stem}_{digest}"
    module_spec: Any = importlib.util.spec_from_file_location(name, path, loader=_AsItStands(name, str(path)))
    module = importlib.util.module_from_spec(module_spec)
    sys.modules[module_spec.name] = module  # dataclasses and pickle look a module up by its name
    folder = path.resolve().parent
    with importable(folder):
        module_spec.loader.exec_module(module)
    belongs_to(module, folder)
    return module


def _functions(module: ModuleType) -> list[str]:
    return [name for name, value in vars(module).items() if inspect.isfunction(value) and not name.startswith("_")]


def _suggestion(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f", perhaps you meant '{near[0]}'" if near else ""
