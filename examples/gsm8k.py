"""GRPO on GSM8K for any Hugging Face causal LM: the settings of DeepSeekMath (arXiv 2402.03300, section 4.2), smaller.

    groupwise run examples/gsm8k.py --model Qwen/Qwen3-0.6B
    groupwise run examples/gsm8k.py --model PATH --train train.jsonl --test test.jsonl

Every question is followed by one sentence on how to answer, so that models with and without a chat template are asked
alike; the reward is 1 where the final number is right. Where it differs from the paper: 8 completions a question (the
paper: 64), 16 questions a step (16 of 64 completions make the paper's batch of 1024), 512 tokens at most (1024).
"""

from dataclasses import replace

from groupwise import HeldOut, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import KL

INSTRUCTION = "Reason step by step. End with the line #### and the final number."


def run(model: str = "Qwen/Qwen3-0.6B", train: str | None = None, test: str | None = None) -> Run:
    """``train`` and ``test``: GSM8K's jsonl files; without them the rows come from the hub."""
    rows = tasks.gsm8k(train, test)
    task = replace(rows, train=[asked(row) for row in rows.train], held_out=[asked(row) for row in rows.held_out])
    grpo = replace(
        recipes.grpo,
        source=OnPolicy(group_size=8, max_completion_tokens=512),  # the paper: 64 and 1024
        kl=KL(0.04),
    )
    stage = Stage("grpo", grpo, task, steps=200, prompts_per_step=16, learning_rate=1e-6, evaluate_every=50)
    evaluation = HeldOut(problems=1319, sampled_problems=100, samples=8, max_completion_tokens=512)
    return Run("gsm8k", model, (stage,), evaluation=evaluation)


def asked(row):
    return replace(row, prompt=f"{row.prompt}\n{INSTRUCTION}")
