"""A TRL script as a recipe: batches, budget, data and rewards; the formulas are in ``trl_loss``."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import replace
from typing import Any

from groupwise.errors import UserError
from groupwise.foreign.draft import Draft, passes, shown
from groupwise.foreign.script import DataPath, RewardCall, Script
from groupwise.foreign.trl_loss import LOSSES, METHODS
from groupwise.output.counting import counted

RATES = {"GRPO": 1e-6, "RLOO": 1e-6, "DPO": 1e-6, "SFT": 2e-5, "Reward": 1e-4}
GROUPS = {"GRPO": 8, "RLOO": 2}
THINK = r"<think>(?!.*<think>).*?</think>.*"
ANSWER = r"<think>.*?</think>\s*<answer>.*?</answer>\s*"
SAVED = 500  # updates between two checkpoints when nothing is said


def translate(script: Script) -> Draft:
    """Raises UserError where the loss is one that there is no method for, or batches do not fit TRL's own rule."""
    draft = Draft(script, METHODS[script.trainer])
    draft.model = draft.take("model_name_or_path", "model", "model_name")
    updates, prompts = _groups(draft) if script.trainer in GROUPS else _rows(draft)
    _budget(draft, updates, prompts)
    _optimiser(draft)
    _adapters(draft)
    _data(draft)
    if script.trainer in GROUPS:
        _rewards(draft)
    LOSSES[script.trainer](draft)
    draft.take("output_dir", "run_name")
    draft.rest()
    return draft


def _groups(draft: Draft) -> tuple[float, int]:
    """Updates a draw, as TRL makes them, and prompts a draw."""
    size = draft.count("num_generations", default=GROUPS[draft.script.trainer])
    forward = draft.count("per_device_train_batch_size", default=8) * _devices(draft)
    accumulated = draft.count("gradient_accumulation_steps", default=1)
    total = draft.whole("generation_batch_size")
    passes = total / forward if total else draft.count("steps_per_generation", default=accumulated)
    draft.take("steps_per_generation")
    completions = forward * passes
    if draft.script.unsloth and size > 0 and forward % size:
        draft.assume(f"Unsloth raises per_device_train_batch_size to num_generations={size} where it is no multiple.")
        forward, completions = size, size * passes
    if size < 1 or completions % size or completions < size:
        raise UserError(
            f"{completions:g} completions a draw can't be groups of num_generations={size}: TRL refuses it too; "
            "correct per_device_train_batch_size, or say --devices N if it was meant for several"
        )
    prompts, updates = int(completions // size), passes / accumulated
    minibatches = min(max(1, round(updates)), prompts)
    if minibatches != updates:
        draft.assume(
            f"TRL makes {updates:g} updates of a draw of {prompts} prompts; here an update has whole groups, so it is "
            f"{minibatches}."
        )
    draft.options |= {"prompts_per_step": str(prompts), "minibatches": str(minibatches)}
    draft.options["algorithm.source.group_size"] = str(size)
    draft.direct("temperature", "top_p", "num_iterations")
    if draft.take("top_k"):
        draft.options["algorithm.source.top_k"] = str(max(0, draft.whole("top_k")))
    length = draft.count("max_completion_length", "max_new_tokens", default=512)
    draft.options["algorithm.source.max_completion_tokens"] = str(length)
    draft.evaluate(length)
    return max(1.0, updates * draft.count("num_iterations", default=1)), prompts


def _rows(draft: Draft) -> tuple[float, int]:
    forward = draft.count("per_device_train_batch_size", default=8) * _devices(draft)
    prompts = max(1, forward * draft.count("gradient_accumulation_steps", default=1))
    draft.options |= {"prompts_per_step": str(prompts)}
    if draft.take("max_length", "max_seq_length", default=1024):
        draft.assume("Rows are not cut to max_length: one that does not fit the model's context is skipped.")
    return 1.0, prompts


def _devices(draft: Draft) -> int:
    devices = draft.script.devices
    draft.assume(
        f"The script ran on {counted(devices, 'device')}: its batch is per_device_train_batch_size times that."
    )
    return devices


def _budget(draft: Draft, updates: float, prompts: int) -> None:
    """Steps, warm-up, checkpoints and evaluations: there updates, here draws."""
    epochs, most = draft.number("num_train_epochs", default=3.0), draft.whole("max_steps", default=-1)
    if most > 0:
        draft.steps = str(math.ceil(most / updates))
    else:
        draft.steps = passes(epochs, prompts, whole=draft.script.trainer in GROUPS)
    warmup = draft.number("warmup_ratio", default=0.0) or draft.number("warmup_steps", default=0.0)
    draft.take("warmup_steps")
    if 0 < warmup < 1:
        draft.options["warmup_steps"] = f"math.ceil({shown(warmup)} * steps)"
    elif warmup:
        draft.options["warmup_steps"] = str(math.ceil(warmup / updates))
    epoch = f"max(1, len(task.train) // {prompts})"
    for what, strategy, every, usual in (
        ("checkpoint_every", "save_strategy", draft.number("save_steps", default=SAVED), "steps"),
        ("evaluate_every", "eval_strategy", draft.number("eval_steps", default=SAVED), "no"),
    ):
        kind = str(draft.take(strategy, "evaluation_strategy" if usual == "no" else strategy, default=usual))
        share = f"max(1, math.ceil({shown(every)} * steps))" if 0 < every < 1 else str(math.ceil(every / updates))
        draft.options[what] = {"no": "0", "False": "0", "epoch": epoch}.get(kind, share)  # YAML's no is False
    draft.take("do_eval")
    if updates > 1 and {"max_steps", "warmup_steps", "save_steps", "eval_steps"} & set(draft.given):
        draft.assume(f"TRL counts updates, here draws are counted: {updates:g} updates of TRL are one step.")


def _floor(draft: Draft, said: Any) -> str:
    """The share of the rate that a schedule ends with, of ``min_lr_rate`` or of ``min_lr``, which is a rate."""
    if isinstance(said, str):
        with suppress(ValueError, RecursionError):
            said = json.loads(said)
    known = said if isinstance(said, dict) else {}
    rate = float(draft.options["learning_rate"])
    for name, whole in (("min_lr_rate", 1.0), ("min_lr", rate)):
        with suppress(TypeError, ValueError):
            least = float(known[name]) if name in known else math.nan
            if 0 <= least <= whole and whole > 0:
                return shown(float(f"{least / whole:.12g}"))
    draft.place_none("lr_scheduler_kwargs", "--learning_rate_floor is a share of the rate, 0 to 1; 0 is taken")
    return "0.0"


def _optimiser(draft: Draft) -> None:
    draft.options["learning_rate"] = shown(draft.number("learning_rate", default=RATES[draft.script.trainer]))
    kind = str(draft.take("lr_scheduler_type", default="linear")).rpartition(".")[2].lower()
    floor = draft.take("lr_scheduler_kwargs", default={})
    if kind in ("cosine_with_min_lr", "cosine_warmup_with_min_lr"):
        draft.options["learning_rate_floor"] = _floor(draft, floor)
        kind = "cosine"
    schedule = {"constant_with_warmup": "constant"}.get(kind, kind)
    if schedule not in ("linear", "cosine", "constant"):
        draft.place_none("lr_scheduler_type", "there are constant, linear and cosine; linear is taken")
        schedule = "linear"
    draft.options["schedule"] = repr(schedule)
    betas = draft.number("adam_beta1", default=0.9), draft.number("adam_beta2", default=0.999)
    draft.options["learner.betas"] = repr(betas)
    draft.options["learner.weight_decay"] = shown(draft.number("weight_decay"))
    draft.options["learner.max_grad_norm"] = shown(draft.number("max_grad_norm", default=1.0))
    named = str(draft.take("optim", default="adamw")).lower()
    if "8bit" in named:
        draft.options["learner.optimizer_bits"] = "8"
    if "adamw" not in named:
        draft.place_none("optim", "the optimiser is AdamW")
    draft.options["seed"] = str(draft.whole("seed", "random_state", default=42))
    draft.direct("save_total_limit")


def _adapters(draft: Draft) -> None:
    """LoRA with the defaults of whoever made it; half precision; checkpointing."""
    wanted = draft.take("peft_config", "use_peft", default=False)
    command, unsloth = "use_peft" in draft.given, draft.script.unsloth
    rank = draft.whole("lora_r", "r", default=16 if command or unsloth else 8) if wanted else 0
    alpha = draft.number("lora_alpha", default=32 if command else 16 if unsloth else 8)
    targets = draft.take("lora_target_modules", "target_modules")
    if rank:
        draft.options |= {"learner.lora.rank": str(rank), "learner.lora.alpha": shown(alpha)}
        draft.options |= _beside_rank(draft)
        if isinstance(targets, list):
            draft.options["learner.lora.targets"] = repr(tuple(map(str, targets)))
        elif targets not in (None, "all-linear"):
            draft.place_none("target_modules", "expected a list of last names; all linear layers are taken")
    kind = str(draft.take("dtype", "torch_dtype", default="float32")).rpartition(".")[2]
    if draft.take("bf16", default=False) is True or kind in ("bfloat16", "bf16"):
        draft.options["learner.dtype"] = "'bfloat16'"
    remembered = draft.take("gradient_checkpointing", "use_gradient_checkpointing", default=False)
    if remembered in (True, "unsloth"):
        draft.options["learner.checkpointing"] = "True"
    if draft.take("use_cpu", "no_cuda", default=False) is True:
        draft.options["learner.device"] = "'cpu'"


def _beside_rank(draft: Draft) -> dict[str, str]:
    """What of LoRA is off unless it is given."""
    found = {}
    dropout = draft.number("lora_dropout")
    modules = draft.take("lora_modules_to_save", "modules_to_save")
    if dropout:
        found["learner.lora.dropout"] = shown(dropout)
    if isinstance(modules, list) and modules:
        found["learner.lora.modules_to_save"] = repr(tuple(map(str, modules)))
    if draft.take("use_rslora", default=False) is True:
        found["learner.lora.rslora"] = "True"
    return found


def _data(draft: Draft) -> None:
    """From a command line's names, where the script did not load it itself."""
    name = draft.take("dataset_name")
    config, split = draft.take("dataset_config"), draft.take("dataset_train_split", default="train")
    share = draft.take("test_split_size")
    mixed = draft.take("datasets")
    if isinstance(mixed, list) and len(mixed) == 1 and isinstance(mixed[0], dict):
        name, config, split = mixed[0].get("path"), mixed[0].get("name"), mixed[0].get("split", "train")
    elif mixed:
        draft.place_none("datasets", "a mixture: give the files to --data")
    if name and draft.data is None:
        draft.data = DataPath(_hub(str(name), config, str(split)))
        wished = str(draft.take("eval_strategy", "evaluation_strategy", default="no")) not in ("no", "False")
        test = draft.take("dataset_test_split", default="test")
        if wished and "." not in str(name).rpartition("/")[2]:
            draft.held_out = DataPath(_hub(str(name), config, str(test)))
    draft.take("dataset_test_split")
    if draft.data is not None and isinstance(share, float) and 0 < share < 1:
        draft.data = replace(draft.data, held_out_fraction=share)
    draft.system = draft.take("system_prompt")
    if draft.take("model_revision", "revision", default="main") != "main":
        draft.place_none("model_revision", "download the revision, and give its directory to --model")
    column = draft.take("dataset_text_field")
    if column and column != "text":
        draft.columns["prompt_column"] = str(column)


def _hub(name: str, config: object, split: str) -> str:
    return f"{name}{f'/{config}' if config else ''}{f':{split}' if split != 'train' else ''}"


def _rewards(draft: Draft) -> None:
    """In the script's order, each with its weight."""
    named = draft.take("reward_funcs", default=[])
    calls = list(draft.script.rewards) + [_named(str(name)) for name in (named if isinstance(named, list) else [named])]
    model = draft.take("reward_model_name_or_path")
    calls = [*([RewardCall(str(model), "model")] if model else []), *calls]
    weights = draft.take("reward_weights", default=[1.0] * len(calls))
    weights = weights if isinstance(weights, list) else [weights]
    if len(weights) != len(calls) or not all(isinstance(each, int | float) for each in weights):
        draft.place_none("reward_weights", f"expected {len(calls)} numbers, one for each reward read; 1 is taken")
        weights = [1.0] * len(calls)
    draft.rewards = [
        text for call, weight in zip(calls, weights, strict=True) if (text := _reward(draft, call, weight))
    ]


def _named(name: str) -> RewardCall:
    if name == "get_soft_overlong_punishment":
        return RewardCall(name, "named", {"max_completion_len": 1280, "soft_punish_cache": 256})
    source, _, function = name.rpartition(".")
    return RewardCall(f"{source}:{function}", "file") if source else RewardCall(name, "named")


def _reward(draft: Draft, call: RewardCall, weight: float) -> str:
    """As Python; empty where there is no such reward."""
    weighed = f", weight={shown(weight)}" if weight != 1 else ""
    if call.kind == "function":
        return f"rewards.as_reward({call.name}{weighed})"
    if call.kind == "file":
        draft.assume(f"The reward {call.name} is imported from where the command is run.")
        text = f"rewards.by_name({call.name!r})"
        return f"replace({text}{weighed})" if weighed else text
    if call.kind == "model":
        return f"rewards.ModelReward({call.name!r}, 'outcome', name={call.name.rpartition('/')[2]!r}{weighed})"
    if call.name in ("accuracy_reward", "accuracy"):
        draft.assume(f"{call.name} becomes Math: the same check by math-verify, and more conventions for answers.")
        return f"rewards.Math({weighed.lstrip(', ')})"
    if call.name in ("think_format_reward", "format"):
        if call.name == "format":
            draft.assume("The reward format becomes one block <think>...</think> and then <answer>...</answer>.")
        pattern = THINK if call.name != "format" else ANSWER
        return f"rewards.Format(r{pattern!r}, name={call.name!r}{weighed})"
    if call.name == "get_soft_overlong_punishment":
        most, cache = call.arguments.get("max_completion_len"), call.arguments.get("soft_punish_cache")
        if not isinstance(most, int) or not isinstance(cache, int):
            draft.unplaced.append(f"the reward {call.name}: expected two whole numbers")
            return ""
        return f"rewards.LengthPenalty({most}, {cache}{weighed})"
    draft.unplaced.append(f"the reward {call.name}: no reward of that name ships; write it as a function")
    return ""
