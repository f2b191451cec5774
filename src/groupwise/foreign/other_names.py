"""This module knows what ms-swift and NeMo-RL call their usual options; convert reads no files of theirs."""

from __future__ import annotations

from groupwise.foreign.entry import Entry, none, option, recipe, section

ELSEWHERE = {
    "swift": "ms-swift",
    "run_grpo": "NeMo-RL",
    "run_grpo_math": "NeMo-RL",
    "run_sft": "NeMo-RL",
    "run_dpo": "NeMo-RL",
    "llamafactory-cli": "LLaMA-Factory",
    "axolotl": "Axolotl",
    "xtuner": "XTuner",
    "areal": "AReaL",
    "megatron": "ms-swift",
}
"""Commands of systems that convert does not read."""
_METHOD = "the method is the first word: groupwise run grpo"
SWIFT: tuple[Entry, ...] = section(
    "ms-swift",
    "ms-swift",
    none("rlhf_type", _METHOD),
    option("dataset", "--data", "a file, or a name of the hub; NAME#1000 is --limit's"),
    option("val_dataset", "--held_out"),
    recipe("split_dataset_ratio", "from_file('rows.jsonl', held_out_fraction=0.1)"),
    option("train_type tuner_type", "--learner.lora.rank", "0 trains every parameter"),
    option("adapters ref_adapters", "--model", "merge them first"),
    recipe("external_plugins", "rewards of a file: --reward FILE.py:FUNCTION"),
    option("max_length", "--long_prompts", "nothing is cut: a row that doesn't fit the context is skipped, or an error"),
    none("sleep_level offload_model offload_optimizer move_model_batches vllm_limit_mm_per_prompt", "completions are sampled by the run's own engine, from the learner's own weights"),
    none("model_type template torch_dtype_vllm use_hf", "the model directory says what it is, and its tokenizer has the template"),
)  # fmt: skip
NEMO: tuple[Entry, ...] = section(
    "NeMo-RL",
    "NeMo-RL",
    option("policy.model_name", "--model"),
    option("grpo.num_prompts_per_step", "--prompts_per_step"),
    option("grpo.num_generations_per_prompt", "--algorithm.source.group_size"),
    option("grpo.max_num_steps", "--steps"),
    option("grpo.val_period", "--evaluate_every"),
    option("checkpointing.save_period", "--checkpoint_every"),
    option("policy.train_global_batch_size", "--minibatches", "prompts_per_step x group_size / it"),
    option("policy.max_total_sequence_length", "--algorithm.source.max_completion_tokens", "prompt and completion together there"),
    option("policy.precision", "--learner.dtype"),
    option("policy.max_grad_norm", "--learner.max_grad_norm"),
    option("policy.optimizer.kwargs.lr", "--learning_rate"),
    option("policy.optimizer.kwargs.weight_decay", "--learner.weight_decay"),
    option("policy.generation.temperature", "--algorithm.source.temperature"),
    option("policy.generation.top_p", "--algorithm.source.top_p"),
    option("loss_fn.reference_policy_kl_penalty", "--algorithm.kl.coefficient"),
    option("loss_fn.ratio_clip_min", "--algorithm.objective.low"),
    option("loss_fn.ratio_clip_max", "--algorithm.objective.high"),
    none("grpo.use_leave_one_out_baseline", "the method rloo has it"),
    recipe("grpo.normalize_rewards", "advantage=GroupRelative('group')"),
    recipe("loss_fn.token_level_loss", "aggregation=TokenMean()"),
    option("grpo.use_dynamic_sampling", "--algorithm.source.without_signal", "redraw"),
    none("cluster.* policy.dtensor_cfg.* policy.megatron_cfg.*", "several processes are --processes N, or torchrun; docs/scale.md has what they share"),
    none("policy.generation.*", "completions are sampled by the run's own engine, from the learner's own weights"),
)  # fmt: skip
