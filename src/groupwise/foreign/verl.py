"""A verl configuration as a recipe: batches, budget, data and rewards; the formulas are in ``verl_loss``."""

from __future__ import annotations

import math
import os

from groupwise.errors import UserError
from groupwise.foreign.draft import Draft, passes, shown
from groupwise.foreign.script import DataPath, Script
from groupwise.foreign.verl_loss import A, loss, method_of

R, M = "actor_rollout_ref.rollout", "actor_rollout_ref.model"
BUFFER = "reward.reward_kwargs.overlong_buffer_cfg"
OLD_BUFFERS = (
    "reward_model.reward_kwargs.overlong_buffer_cfg",
    "reward_model.overlong_buffer",
    "custom_reward_function.overlong_buffer",
)


def translate(script: Script) -> Draft:
    """Raises UserError where the loss is one that there is no method for."""
    if script.trainer == "SFT":
        return _sft(script)
    draft = Draft(script, method_of(script))
    draft.model = draft.take(f"{M}.path")
    draft.take("critic.model.path", f"{M}.tokenizer_path", "data.tokenizer")
    prompts = _batches(draft)
    _optimiser(draft, f"{A}.optim")
    _budget(draft, prompts, whole=True)
    _evaluation(draft)
    _data(draft)
    _rewards(draft)
    loss(draft)
    if str(draft.take("trainer.resume_mode", default="auto")) == "disable":
        draft.assume("trainer.resume_mode=disable: --fresh starts over, and without it a run goes on.")
    draft.take("trainer.default_local_dir", "trainer.experiment_name", "trainer.project_name", "trainer.logger")
    draft.rest()
    return draft


def _sft(script: Script) -> Draft:
    draft = Draft(script, "sft")
    draft.model = draft.take("model.path", "model.partial_pretrain")
    prompts = draft.count("data.train_batch_size", default=256)
    draft.options["prompts_per_step"] = str(prompts)
    _optimiser(draft, "optim")
    _budget(draft, prompts, whole=True, epochs=4)
    _data(draft)
    draft.slots["aggregation"] = "TokenMean()"
    draft.assume("Of a conversation the last answer is learned; verl learns every turn of the assistant.")
    draft.take("trainer.default_local_dir", "trainer.experiment_name", "trainer.project_name", "trainer.logger")
    draft.rest()
    return draft


def _batches(draft: Draft) -> int:
    """Prompts a draw; and how often a draw is learned from."""
    prompts = draft.count("data.train_batch_size", default=1024)
    mini = draft.count(f"{A}.ppo_mini_batch_size", default=256)
    draft.take("critic.ppo_mini_batch_size", "critic.ppo_epochs")
    if prompts < 1 or mini < 1 or mini > prompts:
        raise UserError(
            f"data.train_batch_size={prompts} and ppo_mini_batch_size={mini}: expected at least 1 and no minibatch "
            "larger than a draw, as verl expects it"
        )
    minibatches = math.ceil(prompts / mini)
    if prompts % mini:
        draft.assume(f"{prompts} prompts in updates of {mini}: here in {minibatches} as equal as can be.")
    draft.options |= {"prompts_per_step": str(prompts), "minibatches": str(minibatches)}
    draft.options["epochs"] = str(draft.count(f"{A}.ppo_epochs", default=1))
    group = draft.method != "verl_0_9_ppo"
    draft.options["algorithm.source.group_size"] = str(draft.count(f"{R}.n", default=1))
    if group and draft.options["algorithm.source.group_size"] == "1" and draft.slots.get("source") is None:
        draft.assume("rollout.n is 1, and an advantage that compares a group's completions refuses groups of one.")
    length = draft.count("data.max_response_length", f"{R}.response_length", default=512)
    draft.options["algorithm.source.max_completion_tokens"] = str(length)
    draft.direct(f"{R}.temperature", f"{R}.top_p", f"{R}.max_num_seqs")
    top = draft.whole(f"{R}.top_k", default=-1)
    draft.options |= {"algorithm.source.top_k": str(top)} if top > 0 else {}
    if draft.take("algorithm.filter_groups.enable", default=False) is True:
        draft.options["algorithm.source.without_signal"] = "'redraw'"
        metric = str(draft.take("algorithm.filter_groups.metric", default="reward"))
        draft.options |= {"algorithm.source.signal": "mixed"} if metric in ("acc", "score") else {}
        rounds = draft.whole("algorithm.filter_groups.max_num_gen_batches")
        draft.options |= {"algorithm.source.most_rounds": str(rounds)} if rounds > 0 else {}
    draft.take("algorithm.filter_groups.metric", "algorithm.filter_groups.max_num_gen_batches")
    return prompts


def _budget(draft: Draft, prompts: int, whole: bool, epochs: int = 30) -> None:
    most = draft.whole("trainer.total_training_steps", default=-1)
    share = draft.number("trainer.total_epochs", default=epochs)
    draft.steps = str(most) if most > 0 else passes(share, prompts, whole)
    draft.options["checkpoint_every"] = str(max(0, draft.whole("trainer.save_freq", default=-1)))
    draft.options["evaluate_every"] = str(max(0, draft.whole("trainer.test_freq", default=-1)))
    kept = draft.take("trainer.max_actor_ckpt_to_keep", "trainer.max_ckpt_to_keep", "trainer.max_critic_ckpt_to_keep")
    if isinstance(kept, int) and kept > 0:
        draft.options["checkpoints.keep_last"] = str(kept)
    if "trainer.seed" in draft.given:
        draft.options["seed"] = str(draft.whole("trainer.seed"))


def _optimiser(draft: Draft, at: str) -> None:
    draft.options["learning_rate"] = shown(draft.number(f"{at}.lr", default=1e-6 if at.startswith(A) else 1e-5))
    kind = str(draft.take(f"{at}.lr_scheduler_type", f"{at}.warmup_style", default="constant"))
    if kind not in ("constant", "cosine", "linear"):
        draft.place_none(f"{at}.lr_scheduler_type", "there are constant, linear and cosine; constant is taken")
        kind = "constant"
    draft.options["schedule"] = repr(kind)
    floor = draft.take(f"{at}.min_lr_ratio")
    if floor:
        draft.options["learning_rate_floor"] = repr(floor)
    steps, share = draft.whole(f"{at}.lr_warmup_steps", default=-1), draft.number(f"{at}.lr_warmup_steps_ratio")
    if steps > 0 or share:
        draft.options["warmup_steps"] = str(steps) if steps > 0 else f"math.ceil({shown(share)} * steps)"
    betas = draft.take(f"{at}.betas", default=[0.9, 0.999])
    draft.options["learner.betas"] = (
        repr(tuple(betas)) if isinstance(betas, list) and len(betas) == 2 else "(0.9, 0.999)"
    )
    draft.options["learner.weight_decay"] = shown(draft.number(f"{at}.weight_decay", default=0.01))
    clip = draft.number(f"{A}.grad_clip", f"{at}.clip_grad", default=1.0)
    draft.options["learner.max_grad_norm"] = shown(clip)
    draft.take("critic.grad_clip", f"{at}.total_training_steps")
    for remembered in (f"{M}.enable_gradient_checkpointing", "model.enable_gradient_checkpointing"):
        if draft.take(remembered, default=False) is True:
            draft.options["learner.checkpointing"] = "True"
    rank = draft.whole(f"{M}.lora_rank", f"{M}.lora.rank", "model.lora_rank")
    alpha = draft.number(f"{M}.lora_alpha", f"{M}.lora.alpha", "model.lora_alpha", default=16)
    targets = draft.take(f"{M}.target_modules", f"{M}.lora.target_modules", "model.target_modules")
    if rank:
        draft.options |= {"learner.lora.rank": str(rank), "learner.lora.alpha": shown(alpha)}
        draft.options |= {"learner.lora.targets": repr(tuple(targets))} if isinstance(targets, list) else {}
    if str(draft.take(f"{A}.fsdp_config.model_dtype", default="fp32")) in ("bf16", "bfloat16"):
        draft.options["learner.dtype"] = "'bfloat16'"


def _evaluation(draft: Draft) -> None:
    samples = max(1, draft.whole(f"{R}.val_kwargs.n", default=1))
    draft.evaluate(int(draft.options["algorithm.source.max_completion_tokens"]), samples)
    warm = draft.number(f"{R}.val_kwargs.temperature", default=0.0)
    if warm and samples > 1:
        draft.options["evaluation.temperature"] = shown(warm)
    draft.take(f"{R}.val_kwargs.do_sample", f"{R}.val_kwargs.top_p", f"{R}.val_kwargs.top_k")


def _data(draft: Draft) -> None:
    """One file of each: of several the first."""
    for name, held_out in (("data.train_files", False), ("data.val_files", True)):
        files = draft.take(name)
        if not files:
            continue
        paths = [str(each) for each in (files if isinstance(files, list) else [files])]
        if len(paths) > 1:
            draft.place_none(name, f"one file is read: {paths[0]}; put the rows of the others into it")
        if held_out:
            draft.held_out = DataPath(paths[0])
        else:
            draft.data = DataPath(paths[0])
    column = draft.take("data.prompt_key", "data.messages_key")
    if column and column not in ("prompt", "messages"):
        draft.columns["prompt_column"] = str(column)
    most = draft.whole("data.train_max_samples", default=-1)
    draft.limit = most if most > 0 else None


def _rewards(draft: Draft) -> None:
    path = draft.take("reward.custom_reward_function.path", "custom_reward_function.path")
    name = draft.take("reward.custom_reward_function.name", "custom_reward_function.name", default="compute_score")
    model = draft.take("reward.reward_model.model_path", "reward.reward_model.model.path", "reward_model.model.path")
    enabled = draft.take("reward.reward_model.enable", "reward_model.enable", default=False) is True
    if path:
        path = os.path.expanduser(str(path))
        draft.rewards.append(f"rewards.by_name({f'{path}:{name}'!r})")
        draft.assume(f"The reward's file {path} is looked for from where the command is run.")
    elif enabled and model:
        draft.rewards.append(f"rewards.ModelReward({str(model)!r}, 'outcome')")
    else:
        draft.rewards.append("rewards.Math()")
        draft.assume("verl chooses its own reward by data_source; here it is Math, which compares final answers.")
    enable, length, factor = (
        [f"{at}.{name}" for at in (BUFFER, *OLD_BUFFERS)] for name in ("enable", "len", "penalty_factor")
    )
    on, cache = draft.take(*enable, default=False) is True, draft.whole(*length)
    weight = draft.number(*factor, default=1.0)
    draft.take("reward.reward_kwargs.max_resp_len", "reward_model.reward_kwargs.max_resp_len")
    draft.take(*(f"{at}.log" for at in (BUFFER, *OLD_BUFFERS)))
    draft.take("reward_model.reward_manager", "reward.reward_manager.name")
    if on and cache > 0:
        longest = draft.options["algorithm.source.max_completion_tokens"]
        draft.rewards.append(f"rewards.LengthPenalty({longest}, {cache}, weight={shown(weight)})")
