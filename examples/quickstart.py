"""From nothing to a better model, on a CPU: a new model learns stepwise arithmetic, then GRPO makes it reliable.

    groupwise run examples/quickstart.py

1. A Qwen3-architecture model of 1 million parameters and a byte-level tokenizer are made from a config.
2. SFT on demonstrations teaches it the format, and to calculate, but not well.
3. GRPO samples 8 answers a question and rewards those whose final number is right.
4. Both models answer held-out questions, and the report compares them.
"""

from dataclasses import replace

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import KL

task = tasks.stepwise(level=2)  # 37 + 58 - 46 = ?

grpo = replace(recipes.grpo, source=OnPolicy(group_size=8, max_completion_tokens=64), kl=KL(0.001))

run = Run(
    name="quickstart",
    model=NewModel(),
    stages=(
        Stage(
            "sft",
            recipes.sft,
            task,
            steps=600,
            prompts_per_step=32,
            learning_rate=2e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=200,
        ),
        Stage(
            "grpo",
            grpo,
            task,
            steps=40,
            prompts_per_step=32,
            learning_rate=3e-4,
            warmup_steps=5,
            checkpoint_every=20,
            evaluate_every=10,
        ),
    ),
    learner=Local(threads=2),
    evaluation=HeldOut(problems=500, sampled_problems=100, samples=32, max_completion_tokens=64),
)
