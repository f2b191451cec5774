"""Iterative RL (DeepSeekMath, Algorithm 1) on stepwise arithmetic, on a CPU, in minutes.

    groupwise run examples/iterative.py

1. SFT on demonstrations of which one step in four has a slip.
2. Twice: a process reward model learns, from labels that it makes itself, which steps are right (from the end of each
   step the policy goes on twice, and a step is as good as what can still come of it; the second time a tenth of
   its data is old); then GRPO with process supervision learns from what that model says of each step.
3. Nobody labels a step, and the policy never sees the rule. The rule labels the reward model's data, and on held-out
   questions it says whether the policy became better or only pleases its reward model.
"""

from dataclasses import replace

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, recipes, tasks
from groupwise.algorithm import KL
from groupwise.sources import MonteCarloSteps
from groupwise.training.iterative import iterative

task = tasks.stepwise(level=tasks.Difficulty(operands=(3, 3), largest=9), slips=0.25, held_out_size=100)

symbols = (" + ", " - ", " = ?", "<<", ">>\n", "#### ")
numbers = tuple(str(number) for number in range(100))

sft = Stage(
    "sft",
    recipes.sft,
    task,
    steps=500,
    prompts_per_step=32,
    learning_rate=5e-3,
    warmup_steps=20,
    schedule="cosine",
    checkpoint_every=250,
)

prm = Stage(
    "prm",
    replace(
        recipes.process_reward_model_automatic,
        source=MonteCarloSteps(prompts=8000, samples_per_prompt=4, continuations=2, max_completion_tokens=48),
    ),
    task,
    steps=1000,
    prompts_per_step=96,
    learning_rate=5e-3,
    warmup_steps=10,
    schedule="cosine",
    checkpoint_every=500,
)

grpo = Stage(
    "grpo",
    replace(recipes.grpo_process, source=OnPolicy(group_size=16, max_completion_tokens=48), kl=KL(0.001)),
    task,
    steps=20,
    prompts_per_step=16,
    learning_rate=1e-3,
    warmup_steps=3,
    schedule="linear",
    checkpoint_every=10,
    evaluate_every=5,
)

run = Run(
    name="iterative",
    model=NewModel(hidden_size=64, layers=2, intermediate_size=256, initializer_range=0.08, pieces=symbols + numbers),
    stages=(sft, *iterative(grpo, prm, start="sft", iterations=2, replay=0.1)),
    learner=Local(threads=1, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=100, sampled_problems=100, samples=16, max_completion_tokens=48),
)
