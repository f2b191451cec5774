"""The scripts that the pages on other systems begin with, and what those pages say in words."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Page:
    """One page: a worked script, then the tables of ``systems``."""

    title: str
    about: str
    systems: tuple[str, ...]
    file: str
    language: str
    script: str
    differences: tuple[str, ...]


TRL_SCRIPT = """
import re

from datasets import load_dataset
from peft import LoraConfig
from trl import GRPOConfig, GRPOTrainer

SYSTEM = "Reason step by step. End with #### and the number."


def as_chat(row):
    return {
        "prompt": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": row["question"]}],
        "answer": row["answer"].split("####")[-1].strip(),
    }


def correct(completions, answer, **kwargs):
    texts = [completion[0]["content"] for completion in completions]
    found = [re.search(r"#### (-?[\\d,.]+)", text) for text in texts]
    return [float(bool(each) and each[1] == gold) for each, gold in zip(found, answer)]


def short(completions, **kwargs):
    return [-len(completion[0]["content"]) / 2000 for completion in completions]


args = GRPOConfig(
    output_dir="gsm8k-grpo",
    learning_rate=1e-5,
    per_device_train_batch_size=16,
    gradient_accumulation_steps=4,
    num_generations=8,
    max_completion_length=512,
    num_train_epochs=1,
    warmup_ratio=0.05,
    beta=0.001,
    epsilon_high=0.28,
    loss_type="dr_grpo",
    scale_rewards=False,
    reward_weights=[1.0, 0.1],
    use_vllm=True,
    bf16=True,
    report_to="wandb",
)
trainer = GRPOTrainer(
    model="Qwen/Qwen2.5-0.5B-Instruct",
    reward_funcs=[correct, short],
    args=args,
    train_dataset=load_dataset("openai/gsm8k", "main", split="train").map(as_chat),
    peft_config=LoraConfig(r=16, lora_alpha=32, target_modules="all-linear"),
)
trainer.train()
"""

VERL_SCRIPT = """
set -x
data=$HOME/data/gsm8k

python3 -m verl.trainer.main_ppo \\
    algorithm.adv_estimator=grpo \\
    data.train_files=$data/train.parquet \\
    data.val_files=$data/test.parquet \\
    data.train_batch_size=256 \\
    data.max_response_length=1024 \\
    actor_rollout_ref.model.path=Qwen/Qwen2.5-0.5B-Instruct \\
    actor_rollout_ref.actor.optim.lr=1e-6 \\
    actor_rollout_ref.actor.ppo_mini_batch_size=64 \\
    actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=16 \\
    actor_rollout_ref.actor.clip_ratio_low=0.2 \\
    actor_rollout_ref.actor.clip_ratio_high=0.28 \\
    actor_rollout_ref.actor.use_kl_loss=True \\
    actor_rollout_ref.actor.kl_loss_coef=0.001 \\
    actor_rollout_ref.actor.kl_loss_type=low_var_kl \\
    actor_rollout_ref.actor.loss_agg_mode=token-mean \\
    actor_rollout_ref.rollout.name=vllm \\
    actor_rollout_ref.rollout.gpu_memory_utilization=0.6 \\
    actor_rollout_ref.rollout.n=8 \\
    custom_reward_function.path=reward.py \\
    trainer.logger='["console","wandb"]' \\
    trainer.n_gpus_per_node=1 \\
    trainer.save_freq=20 \\
    trainer.test_freq=5 \\
    trainer.total_epochs=15 $@
"""

OPENRLHF_SCRIPT = """
ray job submit --address="http://127.0.0.1:8265" -- python3 -m openrlhf.cli.train_ppo_ray \\
    --actor.model_name_or_path Qwen/Qwen3-0.6B \\
    --data.prompt_dataset gsm8k.jsonl \\
    --data.input_key question \\
    --data.label_key answer \\
    --data.apply_chat_template \\
    --reward.remote_url reward.py \\
    --rollout.batch_size 128 \\
    --rollout.n_samples_per_prompt 8 \\
    --rollout.max_new_tokens 1024 \\
    --train.batch_size 256 \\
    --train.num_episodes 2 \\
    --algo.advantage.estimator group_norm \\
    --algo.kl.init_coef 1e-3 \\
    --algo.kl.use_loss \\
    --algo.kl.estimator k3 \\
    --actor.eps_clip_low_high 0.2 0.28 \\
    --actor.adam.lr 1e-6 \\
    --vllm.num_engines 4 \\
    --ds.zero_stage 3 \\
    --ckpt.save_steps 20
"""

COMMON = (
    "An option of another system that is typed after `groupwise run` is answered with the row of these tables that "
    "speaks of it, and a whole script becomes a recipe by `groupwise convert`: nothing of the script is run. Losses "
    "stay what they were: the method that a recipe begins with computes what that system's own code computes, to 1e-10 "
    "([parity](parity.md)); where there is no such loss here, `convert` refuses and says which there are."
)

PAGES = {
    "from-trl.md": Page(
        "From TRL (and Unsloth)",
        f"What the options of TRL 1.16 are called here, and those of Unsloth, whose trainers are TRL's. {COMMON}",
        ("TRL", "Unsloth"),
        "train_grpo.py",
        "python",
        TRL_SCRIPT,
        (
            "**A step.** TRL's step is an optimiser update, here a step is a draw: prompts are sampled for, scored and "
            "learned from. A draw has `steps_per_generation / gradient_accumulation_steps x num_iterations` updates.",
            "**A batch.** TRL counts completions on a device; `--prompts_per_step` counts prompts, and "
            "`--algorithm.source.group_size` completions of each. Memory is `--learner.tokens_per_micro_batch`, which "
            "no result depends on.",
            "**An epoch.** `--steps` says how long a run is. A converted recipe computes it from the rows: passes x "
            "rows / prompts. `--epochs` is TRL's `num_iterations`.",
            "**A schedule** moves with every draw, not with every update.",
            "**An update** holds whole groups.",
        ),
    ),
    "from-verl.md": Page(
        "From verl",
        "What the options of verl 0.9 are called here. Parquet files are read as they are, and so is `compute_score`. "
        + COMMON,
        ("verl",),
        "run_gsm8k.sh",
        "bash",
        VERL_SCRIPT,
        (
            "**A step** is the same: a draw of `train_batch_size` prompts.",
            "**Minibatches.** verl gives the prompts of an update, `--minibatches` the updates of a draw.",
            "**An epoch.** `--steps` says how long a run is. A converted recipe computes it from the rows: "
            "`total_epochs` x rows / prompts. `--epochs` is verl's `ppo_epochs`.",
            "**Micro-batches**, devices and offloading have one option, `--learner.tokens_per_micro_batch`, which no "
            "result depends on.",
            "**Validation** is greedy once for each problem, and `--evaluation.samples` times sampled for pass@k and "
            "maj@k.",
        ),
    ),
    "from-openrlhf.md": Page(
        "From OpenRLHF",
        f"What the options of OpenRLHF 0.11 are called here, and those of its earlier releases. {COMMON}",
        ("OpenRLHF",),
        "train.sh",
        "bash",
        OPENRLHF_SCRIPT,
        (
            "**A step** is a draw of `rollout.batch_size` prompts, `n_samples_per_prompt` completions each.",
            "**Minibatches.** OpenRLHF gives the completions of an update, `--minibatches` the updates of a draw.",
            "**An episode** is a pass over the rows: `--steps` is episodes x rows / prompts.",
            "**Rewards** are held within ±10 there, and are what their function says here.",
        ),
    ),
}
