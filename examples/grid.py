"""A walk through walls: a new model learns the short way, on a CPU, in minutes.

    groupwise run examples/grid.py

1. The world is a generator over a grid of four by four with walls. ``#b3#c1@a2:1s3e new`` is what the model reads: a
   wall at b3 and one at c1, itself at a2; the goal is 1 south and 3 east of it, and of the four ways n, e and w are
   open. It says n, s, e or w and is told the same of where it is then; two moves more than the shortest way has are
   allowed. A wall or the edge costs a move.
2. SFT on a walker who moves at random nine times in twenty. He arrives three times in five.
3. GRPO walks on from there. Its reward is 1 on arrival: nothing says which move was good.
4. Both models walk on grids that neither has seen.
"""

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import lru_cache
from itertools import product
from random import Random

from groupwise import HeldOut, Local, NewModel, OnPolicy, Run, Stage, Task, recipes
from groupwise.algorithm import KL, ConstantLength, GroupRelative, TokenMean
from groupwise.types import Example

SIZE, WALLS, SPARE_MOVES, LONGEST = 4, 0.15, 2, 6
STRAYS = 0.45
"""How often the walker moves at random."""

Cell = tuple[int, int]
CELLS: tuple[Cell, ...] = tuple(product(range(SIZE), repeat=2))
MOVES = {"n": (0, -1), "s": (0, 1), "e": (1, 0), "w": (-1, 0)}


def name(cell: Cell) -> str:
    return "abcd"[cell[0]] + "1234"[cell[1]]


def view(at: Cell, goal: Cell, free: frozenset[Cell]) -> str:
    """What the walker sees: where it is, how far the goal is in both directions, and which ways are open."""
    east, south = goal[0] - at[0], goal[1] - at[1]
    far = f"{abs(south)}{'s' if south >= 0 else 'n'}{abs(east)}{'e' if east >= 0 else 'w'}"
    ways = "".join(move for move in MOVES if moved(at, move, free) != at)
    return f"@{name(at)}:{far} {ways}"


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
            said = yield view(at, goal, free)
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
        yield {"role": "user", "content": view(at, row["goal"], free)}


def rows(size: int, seed: int, held_out: bool = False) -> list[Example]:
    """Grids whose goal can be reached in two to six moves, each with a demonstration. No grid is among both, training
    and held-out rows."""
    random, found = Random(seed), []
    while len(found) < size:
        free = frozenset(cell for cell in CELLS if random.random() >= WALLS)
        at, goal = random.sample(CELLS, 2)
        best = distances(goal, free).get(at, 0) if {at, goal} <= free else 0
        if 2 <= best <= LONGEST and is_held_out(free) is held_out:
            row = {"free": free, "at": at, "goal": goal, "moves": best + SPARE_MOVES}
            walls = "".join(f"#{name(cell)}" for cell in CELLS if cell not in free)
            prompt = f"{walls}{view(at, goal, free)}"
            found.append(Example(f"{seed}:{len(found)}", prompt, tuple(walker(row, random)), columns=row))
    return found


def is_held_out(free: frozenset[Cell]) -> bool:
    """One in ten, by where its walls are."""
    return sum(7 ** CELLS.index(cell) for cell in free) % 101 < 10


task = Task(
    "grid",
    rows(15_000, 0),
    held_out=rows(300, 1, held_out=True),
    environment=walk,
    turns=LONGEST + SPARE_MOVES,
)

TOKENS = 2 * (LONGEST + SPARE_MOVES)  # a letter and the end of the turn
grpo = replace(
    recipes.grpo,
    source=OnPolicy(group_size=8, max_completion_tokens=TOKENS),
    advantage=GroupRelative(scale="none"),
    kl=KL(0.0),
    aggregation=ConstantLength(TOKENS),  # a move weighs the same, however many follow
)
pieces = (
    *(sign + name(cell) + after for sign, after in (("#", ""), ("@", ":")) for cell in CELLS),
    *(f"{far}{way}" for far in range(SIZE) for way in MOVES),
)

run = Run(
    name="grid",
    model=NewModel(hidden_size=96, layers=3, intermediate_size=288, initializer_range=0.08, pieces=pieces),
    stages=(
        Stage(
            "sft",
            replace(recipes.sft, aggregation=TokenMean()),  # a turn weighs the same, however many follow
            task,
            steps=250,
            prompts_per_step=64,
            learning_rate=3e-3,
            warmup_steps=20,
            schedule="cosine",
            checkpoint_every=125,
        ),
        Stage(
            "grpo",
            grpo,
            task,
            steps=60,
            prompts_per_step=64,
            learning_rate=2e-3,
            warmup_steps=5,
            schedule="linear",
            checkpoint_every=30,
            evaluate_every=20,
        ),
    ),
    learner=Local(threads=2, betas=(0.9, 0.99), weight_decay=0.1),
    evaluation=HeldOut(problems=300, sampled_problems=100, samples=4, max_completion_tokens=TOKENS),
)
