"""A game of twenty questions with numbers: a new model learns to halve what is left, on a CPU, in minutes.

    groupwise run examples/guess.py

1. The world is a generator: it thinks of a number from 1 to 63, and after each guess says whether it is more or
   less. There are six
   guesses, so that somebody who halves always wins, and somebody who does not is lucky at best.
2. SFT on a player who only ever guesses numbers that are still possible, any of them alike. He finds one number in two.
3. GRPO plays on from there. Its reward is 1 where the number was found and 0 where it was not: nothing says which
   guess was good, and nobody has shown it a guess in the middle.
4. Both models play for every number, before and after.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from random import Random

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, Task, recipes
from groupwise.algorithm import KL, ConstantLength, TokenMean
from groupwise.types import Example

LARGEST, GUESSES = 63, 6
QUESTION = "I think of a number from 1 to 63."
NUMBERS = tuple(str(number) for number in range(1, LARGEST + 1))
HINTS = tuple(f"{side} than {number}" for side in ("more", "less") for number in NUMBERS)


def guess(row, random) -> Generator[str | None, str, float]:
    """The world. What is no number ends the game."""
    said = yield None  # the question stands in the row
    for left in reversed(range(GUESSES)):
        if said not in NUMBERS:
            return 0.0
        if int(said) == row["secret"]:
            return 1.0
        if left:
            said = yield hint(said, row["secret"])
    return 0.0


def hint(number: int | str, secret: int) -> str:
    return f"more than {number}" if int(number) < secret else f"less than {number}"


def any_possible(low: int, high: int, random: Random) -> int:
    """A player who knows what is possible and not what is clever."""
    return random.randint(low, high)


def middle(low: int, high: int, random: Random) -> int:
    """The player who always wins; nothing here learns from him."""
    return (low + high) // 2


def game(secret: int, random: Random, player=any_possible) -> Iterator[dict[str, str]]:
    """The messages of one game behind the question; it begins and ends with a guess."""
    low, high = 1, LARGEST
    for left in reversed(range(GUESSES)):
        number = player(low, high, random)
        yield {"role": "assistant", "content": str(number)}
        if number == secret or not left:
            return
        low, high = (number + 1, high) if number < secret else (low, number - 1)
        yield {"role": "user", "content": hint(number, secret)}


def rows(size: int, seed: int) -> list[Example]:
    """Every number equally often, each with a demonstration."""
    random = Random(seed)
    secrets = [1 + place % LARGEST for place in range(size)]
    return [
        Example(f"{seed}:{place}", QUESTION, tuple(game(secret, random)), columns={"secret": secret})
        for place, secret in enumerate(secrets)
    ]


task = Task("guess", rows(100 * LARGEST, 0), held_out=rows(LARGEST, 1), environment=guess, turns=GUESSES)

grpo = replace(
    recipes.grpo,
    source=OnPolicy(group_size=16, max_completion_tokens=24),
    kl=KL(0.001),
    aggregation=ConstantLength(24),  # a game that is won by luck at once is no better than a long one
)

run = Run(
    name="guess",
    model=NewModel(initializer_range=0.08, pieces=(QUESTION, *HINTS, *NUMBERS)),
    stages=(
        Stage(
            "sft",
            replace(recipes.sft, aggregation=TokenMean()),  # a turn weighs the same, however many follow
            task,
            steps=700,
            prompts_per_step=16,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=100,
        ),
        Stage(
            "grpo",
            grpo,
            task,
            steps=150,
            prompts_per_step=32,
            learning_rate=2e-3,
            warmup_steps=5,
            schedule="linear",
            checkpoint_every=20,
            evaluate_every=20,
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=LARGEST, sampled_problems=LARGEST, samples=16, max_completion_tokens=24),
)
