"""A real chat model learns grade-school word problems: SFT on GSM8K's rationales, then GRPO by the rule, on two cores.

    groupwise fetch smollm2 models/smollm2
    groupwise run examples/svamp.py --model models/smollm2 --svamp SVAMP.json --gsm8k train.jsonl

1. SVAMP's thousand problems (arXiv 2103.07191) take one step each; the first 700 are learned from, 300 are held out.
2. The model that is fetched solves few of them and seldom says its answer in a form that a rule reads. SFT shows it
   GSM8K's rationales (arXiv 2110.14168), without the calculator's marks: how to work, and ``#### 5`` in the end.
3. GRPO goes on on SVAMP itself, where nothing is shown: the final number is right or it is not.
4. Greedy accuracy, Pass@K and Maj@K are measured before, between and after, on the same held-out problems.
"""

import re
from dataclasses import replace

from groupwise import HeldOut, Local, OnPolicy, Run, Stage, Task, recipes, tasks
from groupwise.rewards import FinalAnswer

TOKENS = 96
INSTRUCTION = "Reason step by step. End with the line #### and the final number."
MARKS = re.compile(r"<<[^>]*>>")
HELD_OUT = 0.3


def asked(row):
    return replace(row, prompt=f"{row.prompt}\n{INSTRUCTION}")


def rationales(path):
    """GSM8K's questions, each with its rationale as a demonstration."""
    rows = tasks.from_file(path, held_out_fraction=0.0).train
    return [replace(asked(row), completion=MARKS.sub("", row.completion)) for row in rows if row.completion]


def problems(path):
    """SVAMP's problems as they are to be learned from, and those that are held out."""
    rows = [asked(row) for row in tasks.from_file(path, held_out_fraction=0.0).train]
    cut = round(len(rows) * (1 - HELD_OUT))
    return rows[:cut], rows[cut:]


def run(model: str = "models/smollm2", svamp: str = "SVAMP.json", gsm8k: str = "train.jsonl") -> Run:
    """``svamp``: its SVAMP.json; ``gsm8k``: its train.jsonl."""
    train, held_out = problems(svamp)
    rule = (FinalAnswer(),)
    shown = Task("gsm8k", rationales(gsm8k), rewards=rule, held_out=held_out)
    solved = Task("svamp", train, rewards=rule, held_out=held_out)
    grpo = replace(recipes.dr_grpo, source=OnPolicy(group_size=8, max_completion_tokens=TOKENS))
    plan = {"schedule": "linear", "checkpoint_every": 0}
    stages = (
        Stage("sft", recipes.sft, shown, steps=120, prompts_per_step=16, learning_rate=2e-5, warmup_steps=5, **plan),
        Stage("grpo", grpo, solved, steps=60, prompts_per_step=8, learning_rate=1e-5, **plan),
    )
    evaluation = HeldOut(problems=300, sampled_problems=100, samples=8, max_completion_tokens=TOKENS)
    return Run("svamp", model, stages, learner=Local(), evaluation=evaluation)
