"""A model that learns to use a calculator: from answers out of its head to a call of a tool, on a CPU, in minutes.

    groupwise run examples/calculator.py

1. The tool is a plain typed function. The chat template shows it to the model, which calls it in the form that Qwen2.5
   and Qwen3 use; what the function returns stands in the conversation, and nobody trains on it.
2. SFT on a clerk who asks the calculator less than half of the time, and now and then types a wrong digit. Otherwise he
   answers from his head: the right number of digits, and wrong ones.
3. GRPO sees whether the final answer is right. No reward is for the call itself.
4. Both models multiply numbers that were held out.
"""

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Any

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, Task, recipes
from groupwise.algorithm import KL, TokenMean
from groupwise.rewards import FinalAnswer
from groupwise.types import Example

ASKS, SLIPS = 0.45, 0.2
"""How often the clerk asks the calculator, and how often he then types a wrong digit."""
OPERANDS = 317, 999
"""Every product has six digits."""
HELD_OUT_ONE_IN = 10


def multiply(a: int, b: int) -> int:
    """Multiplies two numbers.

    Args:
        a: The first number.
        b: The second number.
    """
    return a * b


def clerk(a: int, b: int, random: Random) -> Iterator[dict[str, Any]]:
    """The messages of one demonstration behind the question."""
    if random.random() >= ASKS:
        yield final(random.randrange(100_000, 1_000_000))
        return
    typed = a // 10 * 10 + random.randrange(10) if random.random() < SLIPS else a
    call = {"name": "multiply", "arguments": {"a": typed, "b": b}}
    yield {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": call}]}
    yield {"role": "tool", "content": str(typed * b)}
    yield final(typed * b)


def final(number: int) -> dict[str, Any]:
    return {"role": "assistant", "content": f"#### {number}"}


def rows(size: int, seed: int, held_out: bool = False) -> list[Example]:
    """Products of two numbers of three digits. No pair is among both, training and held-out rows."""
    random, found = Random(seed), []
    while len(found) < size:
        a, b = random.randint(*OPERANDS), random.randint(*OPERANDS)
        if ((1009 * a + b) % HELD_OUT_ONE_IN == 0) is held_out:
            messages = tuple(clerk(a, b, random))
            found.append(Example(f"{a}*{b}:{len(found)}", f"{a} * {b} = ?", messages, str(a * b)))
    return found


task = Task(
    "calculator",
    rows(20_000, 0),
    rewards=(FinalAnswer(),),
    held_out=rows(300, 1, held_out=True),
    tools=(multiply,),
    turns=3,
)

pieces = (
    "multiply(a: integer, b: integer)\n",
    '<tool_call>{"name": "',
    'multiply", "arguments": {"a": ',
    ', "b": ',
    "}}</tool_call>",
    "<|tool|>",
    " * ",
    " = ?",
    "#### ",
)

run = Run(
    name="calculator",
    model=NewModel(initializer_range=0.08, pieces=pieces),
    stages=(
        Stage(
            "sft",
            replace(recipes.sft, aggregation=TokenMean()),  # a demonstration with a call is twice as long
            task,
            steps=900,
            prompts_per_step=32,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=100,
        ),
        Stage(
            "grpo",
            replace(recipes.grpo, source=OnPolicy(group_size=16, max_completion_tokens=40), kl=KL(0.001)),
            task,
            steps=50,
            prompts_per_step=32,
            learning_rate=6e-4,
            warmup_steps=5,
            schedule="linear",
            checkpoint_every=20,
            evaluate_every=10,
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=300, sampled_problems=0, samples=1, max_completion_tokens=40),
)
