"""A walk through walls: a new model learns the short way, on a CPU, in minutes.

    groupwise run examples/grid.py

1. The world is a generator over a grid of five by five with walls. ``#b3#c1*e5@a2`` is what the model reads: a wall at
   b3 and one at c1, the goal e5, and itself at a2. It says n, s, e or w and is told where it is then; two moves more
   than the shortest way has are allowed. A wall or the edge costs a move.
2. SFT on a walker who moves at random one time in three. He arrives two times in three.
3. GRPO walks on from there. Its reward is 1 on arrival: nothing says which move was good.
4. Both models walk on grids that neither has seen.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from random import Random

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, Task, recipes
from groupwise.algorithm import KL, ConstantLength, TokenMean
from groupwise.types import Example

SIZE, WALLS, SPARE_MOVES, LONGEST = 5, 0.25, 2, 8
STRAYS = 0.35
"""How often the walker moves at random."""

Cell = tuple[int, int]
CELLS: tuple[Cell, ...] = tuple(product(range(SIZE), repeat=2))
MOVES = {"n": (0, -1), "s": (0, 1), "e": (1, 0), "w": (-1, 0)}


def name(cell: Cell) -> str:
    return "abcde"[cell[0]] + "12345"[cell[1]]


def walk(row, random) -> Generator[str | None, str, float]:
    """The world. What is no move ends the walk."""
    at, goal, free = row["at"], row["goal"], row["free"]
    said = yield None  # the map stands in the row
    for left in reversed(range(row["moves"])):
        if said not in MOVES:
            return 0.0
        at = moved(at, said, free)
        if at == goal:
            return 1.0
        if left:
            said = yield f"@{name(at)}"
    return 0.0


def moved(at: Cell, move: str, free: frozenset[Cell]) -> Cell:
    to = at[0] + MOVES[move][0], at[1] + MOVES[move][1]
    return to if to in free else at


@lru_cache
def distances(goal: Cell, free: frozenset[Cell]) -> dict[Cell, int]:
    """How many moves each cell is from the goal, of those from which it can be reached."""
    found, coming = {goal: 0}, [goal]
    for at in coming:
        for to in (moved(at, move, free) for move in MOVES):
            if to not in found:
                found[to] = found[at] + 1
                coming.append(to)
    return found


def walker(row: dict, random: Random, strays: float = STRAYS) -> Iterator[dict[str, str]]:
    """The messages of one walk behind the map; it begins and ends with a move."""
    at, free, far = row["at"], row["free"], distances(row["goal"], row["free"])
    for left in reversed(range(row["moves"])):
        moves = random.sample([*MOVES], len(MOVES))
        move = moves[0] if random.random() < strays else min(moves, key=lambda each: far[moved(at, each, free)])
        at = moved(at, move, free)
        yield {"role": "assistant", "content": move}
        if at == row["goal"] or not left:
            return
        yield {"role": "user", "content": f"@{name(at)}"}


def rows(size: int, seed: int) -> list[Example]:
    """Grids whose goal can be reached in two to eight moves, each with a demonstration."""
    random, found = Random(seed), []
    while len(found) < size:
        free = frozenset(cell for cell in CELLS if random.random() >= WALLS)
        at, goal = random.sample(CELLS, 2)
        best = distances(goal, free).get(at, 0) if {at, goal} <= free else 0
        if 2 <= best <= LONGEST:
            row = {"free": free, "at": at, "goal": goal, "moves": best + SPARE_MOVES}
            walls = "".join(f"#{name(cell)}" for cell in CELLS if cell not in free)
            prompt = f"{walls}*{name(goal)}@{name(at)}"
            found.append(Example(f"{seed}:{len(found)}", prompt, tuple(walker(row, random)), columns=row))
    return found


task = Task("grid", rows(20_000, 0), held_out=rows(300, 1), environment=walk, turns=LONGEST + SPARE_MOVES)

grpo = replace(
    recipes.grpo,
    source=OnPolicy(group_size=16, max_completion_tokens=24),
    kl=KL(0.001),
    aggregation=ConstantLength(24),  # a move weighs the same, however many follow
)

run = Run(
    name="grid",
    model=NewModel(initializer_range=0.08, pieces=tuple(sign + name(cell) for sign in "#*@" for cell in CELLS)),
    stages=(
        Stage(
            "sft",
            replace(recipes.sft, aggregation=TokenMean()),  # a turn weighs the same, however many follow
            task,
            steps=600,
            prompts_per_step=32,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=200,
        ),
        Stage(
            "grpo",
            grpo,
            task,
            steps=60,
            prompts_per_step=32,
            learning_rate=1e-3,
            warmup_steps=5,
            schedule="linear",
            checkpoint_every=20,
            evaluate_every=20,
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=300, sampled_problems=0, samples=1, max_completion_tokens=24),
)
