"""An OpenRLHF command line as a recipe. What its losses have no slot for is refused: it would be another loss."""

from __future__ import annotations

from typing import Any

from groupwise.errors import UserError
from groupwise.foreign.draft import Draft, passes, shown
from groupwise.foreign.script import DataPath, Script

METHODS = {"DPO": "dpo", "SFT": "sft", "Reward": "reward_model"}
RATES = {"DPO": 1e-5, "SFT": 5e-6, "Reward": 9e-6, "PPO": 1e-6}
WHITE = "Whitening('tokens', ddof=0, epsilon=0.0)"
ESTIMATORS = {
    "gae": {"advantage": "GAE(gamma={gamma}, lam={lam})"},
    "reinforce": {"advantage": "RewardToGo(gamma={gamma})", "whitening": WHITE},
    "group_norm": {"advantage": "GroupRelative(epsilon=1e-9)"},
    "dr_grpo": {"advantage": "GroupRelative('none')"},
    "rloo": {"advantage": "GroupRelative('none', baseline='others')"},
    "reinforce_baseline": {"advantage": "GroupRelative('none')", "whitening": WHITE},
}
BY_TOKEN = ("gae", "reinforce")  # their KL stands in the reward, that of groups in the advantage


def translate(script: Script) -> Draft:
    """Raises UserError where the loss is one that there is no method for."""
    kind = ([str(s.value) for s in script.settings if s.name in ESTIMATOR] or ["gae"])[-1]
    policy = "openrlhf_0_11_ppo" if kind == "gae" else "openrlhf_0_11"
    draft = Draft(script, METHODS.get(script.trainer, policy))
    draft.model = draft.take("actor.model_name_or_path", "model.model_name_or_path", "pretrain")
    online = script.trainer == "PPO"
    prompts = _online(draft) if online else draft.count("train.batch_size", "train_batch_size", default=128)
    draft.options["prompts_per_step"] = str(prompts)
    epochs = draft.number("train.num_episodes", "num_episodes", default=1.0)
    if not online:
        epochs = draft.number("train.max_epochs", "max_epochs", default=2.0 if script.trainer == "SFT" else 1.0)
    draft.steps = passes(epochs, prompts, whole=True)
    _optimiser(draft, "actor." if online else "")
    _data(draft)
    if online:
        _rewards(draft)
        _loss(draft, kind)
    else:
        _loss_on_rows(draft)
    draft.take("ckpt.output_dir", "ckpt.path", "save_path", "ckpt_path")
    draft.rest()
    return draft


ESTIMATOR = ("algo.advantage.estimator", "advantage_estimator")


def _refused(option: str, value: object, there_are: str) -> UserError:
    return UserError(f"{option}={value} is a loss that there is no method for; there are {there_are}")


def _online(draft: Draft) -> int:
    """Prompts a draw; there completions an update are given."""
    prompts = draft.count("rollout.batch_size", "rollout_batch_size", default=1024)
    size = draft.count("rollout.n_samples_per_prompt", "n_samples_per_prompt", default=1)
    batch = draft.count("train.batch_size", "train_batch_size", default=128)
    if prompts < 1 or size < 1 or batch < 1:
        raise UserError(
            f"rollout.batch_size={prompts}, n_samples_per_prompt={size}, train.batch_size={batch}; expected 1 or more"
        )
    updates = prompts * size / batch
    minibatches = min(max(1, round(updates)), prompts)
    if minibatches != updates:
        draft.assume(f"{updates:g} updates a draw become {minibatches}: here an update has whole groups.")
    draft.options |= {"minibatches": str(minibatches), "algorithm.source.group_size": str(size)}
    draft.options["epochs"] = str(draft.whole("train.max_epochs", "max_epochs", default=1))
    length = draft.whole("rollout.max_new_tokens", "generate_max_len", default=0)
    whole = draft.whole("data.max_len", "max_len", default=2048)
    draft.take("prompt_max_len")
    if not length:
        length = max(1, whole // 2)
        draft.assume(
            f"Prompt and completion have {whole} tokens together there; here a completion has {length} at most."
        )
    draft.options["algorithm.source.max_completion_tokens"] = str(length)
    samples = draft.whole("eval.n_samples_per_prompt", "eval_n_samples_per_prompt", default=4)
    draft.evaluate(length, samples)
    draft.options["evaluation.temperature"] = shown(draft.number("eval.temperature", "eval_temperature", default=0.6))
    for name, ours in (("temperature", "temperature"), ("top_p", "top_p")):
        draft.options[f"algorithm.source.{ours}"] = shown(draft.number(f"rollout.{name}", name, default=1.0))
    if draft.take("algo.dynamic_filtering_enable", "dynamic_filtering", default=False) is True:
        draft.options |= {"algorithm.source.without_signal": "'redraw'", "algorithm.source.signal": "mixed"}
    draft.take("algo.dynamic_filtering_range", "dynamic_filtering_reward_range")
    return prompts


def _adapters(draft: Draft) -> None:
    dropout = draft.number("ds.lora.dropout", "lora_dropout")
    rank, alpha = draft.whole("ds.lora.rank", "lora_rank"), draft.number("ds.lora.alpha", "lora_alpha", default=16)
    targets = draft.take("ds.lora.target_modules", "target_modules")
    if rank:
        draft.options |= {"learner.lora.rank": str(rank), "learner.lora.alpha": shown(alpha)}
        draft.options |= {"learner.lora.targets": repr(tuple(targets))} if isinstance(targets, list) else {}
        draft.options |= {"learner.lora.dropout": shown(dropout)} if dropout else {}


def _optimiser(draft: Draft, at: str) -> None:
    rate = draft.number(f"{at}adam.lr", "actor_learning_rate", "learning_rate", default=RATES[draft.script.trainer])
    draft.options["learning_rate"] = shown(rate)
    kind = str(draft.take(f"{at}lr_scheduler", "lr_scheduler", default="cosine_with_min_lr"))
    schedule = {"cosine_with_min_lr": "cosine", "constant_with_warmup": "constant"}.get(kind, kind)
    if schedule not in ("constant", "cosine", "linear"):
        draft.place_none(f"{at}lr_scheduler", "there are constant, linear and cosine; cosine is taken")
        schedule = "cosine"
    draft.options["schedule"] = repr(schedule)
    floor = draft.number(f"{at}min_lr_ratio", "min_lr_ratio", default=0.1)
    if kind == "cosine_with_min_lr":
        draft.options["learning_rate_floor"] = shown(floor)
    warm = draft.number(f"{at}lr_warmup_ratio", "lr_warmup_ratio", default=0.03)
    if warm:
        draft.options["warmup_steps"] = f"math.ceil({shown(warm)} * steps)"
    betas = draft.take(f"{at}adam.betas", "adam_betas", default=[0.9, 0.95])
    draft.options["learner.betas"] = (
        repr(tuple(betas)) if isinstance(betas, list) and len(betas) == 2 else "(0.9, 0.95)"
    )
    draft.options["learner.weight_decay"] = shown(draft.number(f"{at}adam.weight_decay", "l2"))
    draft.options["learner.max_grad_norm"] = shown(draft.number(f"{at}max_norm", "max_norm", default=1.0))
    remembered = (f"{at or 'model.'}gradient_checkpointing_enable", "gradient_checkpointing")
    if draft.take(*remembered, default=False) is True:
        draft.options["learner.checkpointing"] = "True"
    _adapters(draft)
    if str(draft.take("ds.param_dtype", "bf16", default="")) in ("bf16", "True"):
        draft.options["learner.dtype"] = "'bfloat16'"
    for ours, *names in (
        ("checkpoint_every", "ckpt.save_steps", "save_steps"),
        ("evaluate_every", "eval.steps", "eval_steps"),
    ):
        draft.options[ours] = str(max(0, draft.whole(*names, default=-1)))
    draft.options["seed"] = str(draft.whole("train.seed", "seed", default=42))
    kept = draft.whole("ckpt.max_num", "max_ckpt_num", default=3)
    draft.options["checkpoints.keep_last"] = str(max(1, kept))


def _data(draft: Draft) -> None:
    name = draft.take("data.prompt_dataset", "data.dataset", "prompt_data", "dataset")
    split = str(draft.take("data.prompt_split", "data.dataset_split", "prompt_split", "dataset_split", default="train"))
    test, part = (
        draft.take("eval.dataset", "eval_dataset"),
        str(draft.take("eval.split", "eval_split", default="train")),
    )
    if name and "," in str(name):
        draft.unplaced.append(f"{name}: several data sets; name each: --data a.jsonl --data 'b.jsonl*0.3'")
    if name:
        draft.data = DataPath(f"{str(name).split(',')[0]}{f':{split}' if split != 'train' else ''}")
    if test:
        draft.held_out = DataPath(f"{test}{f':{part}' if part != 'train' else ''}")
    column = draft.take("data.input_key", "data.prompt_key", "input_key", "prompt_key")
    answer = draft.take("data.label_key", "data.output_key", "label_key", "output_key")
    draft.columns |= {"prompt_column": str(column)} if column else {}
    draft.columns |= {"answer_column": str(answer)} if answer and draft.script.trainer != "SFT" else {}
    most = draft.whole("data.max_samples", "max_samples", default=0)
    draft.limit = most if 0 < most < 1_000_000 else None
    if (
        draft.take("data.apply_chat_template", "apply_chat_template", default=False) is not True
        and "input_template" not in draft.given
    ):
        draft.assume(
            "Prompts go through the model's chat template where it has one; there only with apply_chat_template."
        )


def _rewards(draft: Draft) -> None:
    remote, model = (
        draft.take("reward.remote_url", "remote_rm_url"),
        draft.take("reward.model_name_or_path", "reward_pretrain"),
    )
    if remote and str(remote).endswith(".py"):
        draft.rewards.append(f"rewards.by_name({f'{remote}:reward_func'!r})")
        draft.assume(f"The reward's file {remote} is looked for from where the command is run.")
    elif remote:
        draft.unplaced.append(f"reward.remote_url={remote}: a server; a reward may be a function that asks it")
    if model:
        draft.rewards.append(f"rewards.ModelReward({str(model)!r}, 'outcome', name={str(model).rpartition('/')[2]!r})")
    cache = draft.whole("reward.overlong_buffer_len", "overlong_buffer_len")
    weight = draft.number("reward.overlong_penalty_factor", "overlong_penalty_factor", default=1.0)
    if cache > 0:
        longest = draft.options["algorithm.source.max_completion_tokens"]
        draft.rewards.append(f"rewards.LengthPenalty({longest}, {cache}, weight={shown(weight)})")
    draft.take("reward.clip_range", "reward_clip_range")
    draft.assume("OpenRLHF holds a completion's reward within ±10; here a reward is what its function says.")


def _loss(draft: Draft, kind: str) -> None:
    draft.take(*ESTIMATOR)
    if kind not in ESTIMATORS:
        raise _refused("algo.advantage.estimator", kind, ", ".join(ESTIMATORS))
    gamma, lam = (
        draft.number("algo.advantage.gamma", "gamma", default=1.0),
        draft.number("algo.advantage.lambd", "lambd", default=1.0),
    )
    for slot, text in ESTIMATORS[kind].items():
        draft.slots[slot] = text.format(gamma=shown(gamma), lam=shown(lam))
    _objective(draft)
    _penalty(draft, kind)
    entropy = draft.number("actor.entropy_coef", "entropy_loss_coef")
    if entropy:
        draft.slots["entropy"] = f"Entropy({shown(entropy)})"
    if kind == "gae":
        clip = draft.number("critic.value_clip", "value_clip", default=0.5)
        rate = draft.number("critic.adam.lr", "critic_learning_rate", default=9e-6)
        factor = round(rate / max(float(draft.options["learning_rate"]), 1e-30), 6)
        draft.slots["critic"] = (
            f"Critic('own', coefficient=1.0, clip={shown(clip)}, learning_rate_factor={shown(factor)})"
        )


def _objective(draft: Draft) -> None:
    both = draft.number("actor.eps_clip", "eps_clip", default=0.2)
    pair = draft.take("actor.eps_clip_low_high", "eps_clip_low_high", default=[both, both])
    numbers = isinstance(pair, list) and len(pair) == 2 and all(isinstance(each, int | float) for each in pair)
    low, high = map(shown, pair if numbers else [both, both])
    dual = draft.number("actor.dual_clip", "dual_clip")
    mode = str(draft.take("actor.policy_loss_type", "policy_loss_type", default="ppo"))
    mean = str(draft.take("actor.loss_agg_mode", default="token-mean"))
    if mode not in ("ppo", "gspo") or (mode == "gspo" and dual):
        raise _refused("policy_loss_type", mode, "ppo, and gspo without dual_clip")
    if mode == "gspo":
        draft.slots |= {"objective": f"ClippedSequenceRatio({low}, {high})", "aggregation": "SequenceMean()"}
    else:
        draft.slots["objective"] = f"ClippedRatio({low}, {high}{f', dual={shown(dual)}' if dual else ''})"
        draft.slots["aggregation"] = "SequenceMean()" if mean.startswith("seq") else "TokenMean()"


def _penalty(draft: Draft, kind: str) -> None:
    beta = draft.number("algo.kl.init_coef", "init_kl_coef", default=0.01)
    estimate = str(draft.take("algo.kl.estimator", "kl_estimator", default="k1"))
    in_loss = draft.take("algo.kl.use_loss", "use_kl_loss", default=False) is True
    target = draft.number("algo.kl.target", "kl_target")
    horizon = draft.number("algo.kl.horizon", "kl_horizon", default=10000)
    if estimate not in ("k1", "k2", "k3"):
        raise _refused("algo.kl.estimator", estimate, "k1, k2 and k3")
    if draft.take("algo.kl.unbiased_gradient", default=False) is True and in_loss and beta:
        raise _refused("algo.kl.unbiased_gradient", True, "k2 and k3 as they are")
    if in_loss and estimate == "k1" and beta:
        raise _refused("algo.kl.estimator", "k1", "k2 and k3 in the loss; k1 has no gradient there in expectation")
    place = "objective" if in_loss else "reward" if kind in BY_TOKEN else "advantage"
    moving = f", target={shown(target)}, horizon={shown(horizon)}" if target and not in_loss else ""
    shape = f"'{estimate}', place='{place}', bound=10.0{moving}"
    draft.slots["kl"] = f"KL({shown(beta)}, {shape})" if beta else "KL(0.0)"


def _loss_on_rows(draft: Draft) -> None:
    """DPO, SFT, a reward model."""
    never: dict[str, Any] = {"model.ipo_enable": False, "ipo": False, "model.label_smoothing": 0, "label_smoothing": 0}
    never |= {"model.nll_loss_coef": 0, "nll_loss_coef": 0, "model.margin_loss_enable": False, "margin_loss": False}
    for option, off in never.items():
        if draft.take(option, default=off) != off:
            raise _refused(option, draft.given[option], "DPO's sigmoid and a reward model's Bradley-Terry")
    kind = str(draft.take("model.loss_type", default="sigmoid"))
    if kind != "sigmoid":
        raise _refused("model.loss_type", kind, "sigmoid")
    if draft.script.trainer == "DPO":
        draft.slots["objective"] = f"PreferenceMargin({shown(draft.number('model.beta', 'beta', default=0.1))})"
    if draft.script.trainer == "SFT":
        draft.slots["aggregation"] = "TokenMean()"
        draft.take("data.output_key", "output_key")
