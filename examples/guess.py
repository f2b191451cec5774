"""A game of twenty questions with numbers: a new model learns to halve what is left, on a CPU, in minutes.

    groupwise run examples/guess.py

1. The world is a generator: it thinks of a number from 1 to 63, and after each guess says between which numbers it is
   still. There are six guesses, so that somebody who halves always wins, and somebody who does not is lucky at best.
   Numbers are written in base eight, from 01 to 77: the middle of many numbers is then a round one.
2. SFT on a player who only ever guesses numbers that are still possible, any of them alike. He finds one number in two.
3. GRPO plays on from there. Its reward is 1 where the number was found and 0 where it was not: nothing says which
   guess was good, and nobody has shown it a guess in the middle. Most rows are the ends of games, with fewer numbers
   left and as many guesses as just suffice: what is learned there makes the beginnings worth something. That takes
   time. So it explores first, with a bonus for entropy that is worth as much as the difference between two good first
   guesses, and settles on what it found when the later guesses are good.
4. Both models play whole games for every number, before and after.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from random import Random

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, Task, recipes
from groupwise.algorithm import KL, ConstantLength, Entropy, GroupRelative, TokenMean
from groupwise.types import Example

LARGEST, GUESSES = 63, 6
ENDS_OF_GAMES = 0.7
"""The share of training rows that are not a whole game."""
NUMBERS = tuple(f"{number:02o}" for number in range(1, LARGEST + 1))
"""In two digits, which numbers that are near one another share: were each a token of its own, a model would have to
learn them one by one."""


def guess(row, random) -> Generator[str | None, str, float]:
    """The world. What is no number ends the game."""
    low, high = row["low"], row["high"]
    said = yield None  # between which numbers it is stands in the row
    for left in reversed(range(row["guesses"])):
        if said not in NUMBERS:
            return 0.0
        if int(said, 8) == row["secret"]:
            return 1.0
        low, high = narrowed(low, high, int(said, 8), row["secret"])
        if left:
            said = yield hint(low, high)
    return 0.0


def narrowed(low: int, high: int, number: int, secret: int) -> tuple[int, int]:
    """Between which numbers the secret is once it is known to be more or less than one."""
    return (max(low, number + 1), high) if number < secret else (low, min(high, number - 1))


def hint(low: int, high: int) -> str:
    return f"between {low:02o} and {high:02o}"


def any_possible(low: int, high: int, random: Random) -> int:
    """A player who knows what is possible and not what is clever."""
    return random.randint(low, high)


def middle(low: int, high: int, random: Random) -> int:
    """The player who always wins; nothing here learns from him."""
    return (low + high) // 2


def game(row: dict, random: Random, player=any_possible) -> Iterator[dict[str, str]]:
    """The messages of one game behind the prompt; it begins and ends with a guess."""
    low, high = row["low"], row["high"]
    for left in reversed(range(row["guesses"])):
        number = player(low, high, random)
        yield {"role": "assistant", "content": f"{number:02o}"}
        if number == row["secret"] or not left:
            return
        low, high = narrowed(low, high, number, row["secret"])
        yield {"role": "user", "content": hint(low, high)}


def whole(secret: int) -> dict[str, int]:
    return {"low": 1, "high": LARGEST, "guesses": GUESSES, "secret": secret}


def end_of_a_game(random: Random) -> dict[str, int]:
    """So many guesses, and more numbers than one fewer would find for certain."""
    guesses = random.randint(1, GUESSES - 1)
    width = random.randint(2 ** (guesses - 1), 2**guesses - 1)
    low = random.randint(1, LARGEST + 1 - width)
    return {"low": low, "high": low + width - 1, "guesses": guesses, "secret": random.randint(low, low + width - 1)}


def rows(size: int, seed: int, ends: float = ENDS_OF_GAMES) -> list[Example]:
    """Every number equally often, or the end of a game in its place; each with a demonstration."""
    random, found = Random(seed), []
    for place in range(size):
        row = end_of_a_game(random) if random.random() < ends else whole(1 + place % LARGEST)
        prompt = hint(row["low"], row["high"])
        found.append(Example(f"{seed}:{place}", prompt, tuple(game(row, random)), columns=row))
    return found


task = Task("guess", rows(300 * LARGEST, 0), held_out=rows(LARGEST, 1, ends=0.0), environment=guess, turns=GUESSES)

TOKENS = 3 * GUESSES  # two digits and the end of the turn
grpo = replace(
    recipes.grpo,
    source=OnPolicy(group_size=8, max_completion_tokens=TOKENS),
    advantage=GroupRelative(scale="none"),  # a number that is hardly ever found weighs no more than others
    kl=KL(0.0),
    entropy=Entropy(0.02),
    aggregation=ConstantLength(TOKENS),  # a game that is won by luck at once is no better than a long one
)
explore = Stage(
    "explore",
    grpo,
    task,
    steps=100,
    prompts_per_step=64,
    learning_rate=3e-3,
    warmup_steps=5,
    schedule="constant",
    checkpoint_every=50,
    evaluate_every=50,
)
settle = replace(explore, name="settle", algorithm=replace(grpo, entropy=Entropy(0.002)), steps=50, schedule="linear")
pieces = tuple(f"{words} {eights}" for words in ("between", " and") for eights in range(LARGEST // 8 + 1))

run = Run(
    name="guess",
    model=NewModel(hidden_size=96, layers=3, intermediate_size=288, initializer_range=0.08, pieces=pieces),
    stages=(
        Stage(
            "sft",
            replace(recipes.sft, aggregation=TokenMean()),  # a turn weighs the same, however many follow
            task,
            steps=500,
            prompts_per_step=64,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=250,
        ),
        explore,
        settle,
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=LARGEST, sampled_problems=LARGEST, samples=16, max_completion_tokens=TOKENS),
)
