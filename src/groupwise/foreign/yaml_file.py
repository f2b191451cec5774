"""This module reads configuration files in YAML: TRL's flat ones, verl's nested ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import yaml

from groupwise.errors import UserError
from groupwise.foreign.script import TRAINERS, Script, Setting, flat
from groupwise.foreign.shell import number
from groupwise.foreign.table import SYSTEMS, entries_of

REFERENCE = re.compile(r"\$\{(?:oc\.select:)?\.?([\w.]+)(?:,\s*+([^{}]*+))?\}")


def read_yaml(text: str, path: str, trainer: str = "") -> Script:
    """Reads a configuration. ``trainer``: whose, where the file itself does not tell. Raises UserError for what is no
    YAML, no configuration, or one of several trainers."""
    try:
        tree = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        what = " ".join(str(error).split())[:200]
        raise UserError(f"{path}: not valid YAML: {what}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds {type(tree).__name__}; expected a mapping of options to values")
    settings, unread = _resolved([Setting(each.name, number(each.value)) for each in flat(tree, path)])
    system = _system(settings, path)
    if system != "verl":
        settings = _with_mappings(settings, tree)
    if system == "verl":
        return Script(system, "SFT" if "actor_rollout_ref" not in tree else "PPO", settings, unread=unread)
    return Script(system, trainer or _trainer(settings, path), settings, unread=unread)


def _with_mappings(settings: Sequence[Setting], tree: dict[Any, Any]) -> list[Setting]:
    """TRL's options whose values are mappings (``lr_scheduler_kwargs``) as one setting each, not one a field."""
    whole = {str(name): value for name, value in tree.items() if isinstance(value, dict) and value}
    kept = [setting for setting in settings if setting.name.partition(".")[0] not in whole]
    return [*kept, *(Setting(name, value) for name, value in whole.items())]


def _system(settings: Sequence[Setting], path: str) -> str:
    """The one that knows most of the names."""
    known = {
        system: sum(bool(entries_of(setting.name, (system,))) for setting in settings) for system in ("TRL", "verl")
    }
    best = max(known, key=lambda system: known[system])
    if not known[best]:
        if any(entries_of(setting.name, ("NeMo-RL",)) for setting in settings):
            raise UserError(
                f"{path}: a configuration of NeMo-RL, which convert does not read; expected one of TRL or verl: begin "
                "with groupwise new NAME, or a method, whose unknown options say what they are here"
            )
        seen = ", ".join(setting.name for setting in settings[:5])
        raise UserError(f"{path}: none of its options is known of {', '.join(SYSTEMS)}; seen: {seen or 'none'}")
    nested = any(setting.name.startswith(("actor_rollout_ref.", "data.train_files")) for setting in settings)
    return "verl" if nested else best


def _trainer(settings: Sequence[Setting], path: str) -> str:
    """By options that one of TRL's trainers alone has."""
    names = {setting.name for setting in settings}
    if names & {"normalize_advantages", "reward_clip_range"}:
        return "RLOO"
    if names & {"num_generations", "reward_funcs", "max_completion_length", "num_iterations", "scale_rewards"}:
        return "GRPO"
    if names & {"packing", "dataset_text_field", "assistant_only_loss", "completion_only_loss", "max_seq_length"}:
        return "SFT"
    if "center_rewards_coefficient" in names:
        return "Reward"
    if names & {"beta", "precompute_ref_log_probs", "label_smoothing", "ld_alpha"}:
        return "DPO"
    raise UserError(f"{path}: which trainer is it for? Say it: --trainer {'|'.join(TRAINERS).lower()}")


def _resolved(settings: Sequence[Setting]) -> tuple[list[Setting], list[str]]:
    """With ``${data.max_response_length}`` put in; what cannot be is told."""
    values: dict[str, Any] = {setting.name: setting.value for setting in settings}
    kept, unread = [], []
    for setting in settings:
        value = setting.value
        for _ in range(5):
            if not isinstance(value, str) or not (found := REFERENCE.search(value)):
                break
            stands = values.get(found[1], number(yaml.safe_load(found[2])) if found[2] else None)
            if stands is None or isinstance(stands, dict | list):
                break
            value = stands if found[0] == value else value.replace(found[0], str(stands))
        if isinstance(value, str) and "${" in value:
            unread.append(f"{setting.name}: {value}")
        else:
            kept.append(Setting(setting.name, value, setting.where))
    return kept, unread
