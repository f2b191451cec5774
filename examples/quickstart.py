"""From nothing to a better model, on a CPU: a new model learns stepwise arithmetic, then GRPO makes it reliable.

    groupwise run examples/quickstart.py

1. A Qwen3-architecture model of 1 million parameters and a byte-level tokenizer are made from a config.
2. SFT on demonstrations teaches it the format and to calculate. One demonstrated step in four has a slip, as people's
   have some, and supervised learning imitates them at that rate: it cannot know which tokens were mistakes.
3. GRPO samples 16 answers a question and rewards those whose final number is right. Nobody shows it a solution; within
   a group, what went right is reinforced against what went wrong.
4. Both models answer held-out questions without slips in the reference, and the report compares them.
"""

from dataclasses import replace

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import KL

task = tasks.stepwise(level=1, slips=0.25)  # 12 + 7 - 4 = ?

symbols = (" + ", " - ", " = ?", "<<", ">>\n", "#### ")
numbers = tuple(str(number) for number in range(100))

grpo = replace(
    recipes.grpo,
    source=OnPolicy(group_size=16, max_completion_tokens=48),
    kl=KL(0.001),  # the reference imitates slips: stay near it only lightly
)

run = Run(
    name="quickstart",
    model=NewModel(initializer_range=0.08, pieces=symbols + numbers),
    stages=(
        Stage(
            "sft",
            recipes.sft,
            task,
            steps=600,
            prompts_per_step=32,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=200,
            evaluate_every=200,
        ),
        Stage(
            "grpo",
            grpo,
            task,
            steps=60,
            prompts_per_step=32,
            learning_rate=6e-4,
            warmup_steps=5,
            schedule="linear",
            checkpoint_every=20,
            evaluate_every=10,
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=500, sampled_problems=100, samples=32, max_completion_tokens=48),
)
