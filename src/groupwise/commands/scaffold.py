"""This module writes what ``groupwise new NAME`` makes: a small task of one's own with data, reward, test and recipe,
all of it running."""

from __future__ import annotations

import json
import re
from pathlib import Path

from groupwise.errors import UserError

WORDS = ("stone", "river", "cloud", "amber", "tiger", "lemon", "piano", "storm", "maple", "robin", "cedar", "flame")

REWARD = '''\
"""The reward: what a completion is worth."""


def letters_in_place(completion: str, answer: str) -> float:
    """The share of letters that stand where they should: 1.0 for the right word, 0.5 for half of it.

    A reward asks for what it needs by name: ``completion``, ``prompt``, ``answer`` and every column of the data.
    It returns a number, or None where it has nothing to say.
    """
    said = completion.strip()
    right = sum(a == b for a, b in zip(said, answer, strict=False))
    return right / max(len(said), len(answer))
'''

TEST = '''\
"""A reward is a function: test it before a model learns from it."""

import json
from pathlib import Path

import pytest
from reward import letters_in_place

ROWS = [json.loads(line) for line in (Path(__file__).parent / "data.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("completion", "value"),
    [("enots", 1.0), (" enots\\n", 1.0), ("enxxx", 0.4), ("stone", 0.2), ("enots" * 2, 0.5), ("", 0.0)],
)
def test_letters_in_place(completion, value):
    assert letters_in_place(completion, answer="enots") == value


def test_every_answer_of_the_data_is_worth_one():
    assert [letters_in_place(row["answer"], row["answer"]) for row in ROWS] == [1.0] * len(ROWS)
'''

RECIPE = '''\
"""The run: a small new model learns the task from demonstrations, then from the reward."""

from dataclasses import replace
from pathlib import Path

from groupwise import HeldOut, NewModel, OnPolicy, Run, Stage, recipes, tasks

here = Path(__file__).parent
task = tasks.from_file(
    here / "data.jsonl",
    reward=f"{{here / 'reward.py'}}:letters_in_place",
    held_out_fraction=0.25,
    name="{name}",
)
grpo = replace(recipes.grpo, source=OnPolicy(group_size=16, max_completion_tokens=16))

run = Run(
    name="{name}",
    model=NewModel(hidden_size=64, layers=2),  # or a directory or a hub name: "Qwen/Qwen3-0.6B"
    stages=(
        Stage("sft", recipes.sft, task, steps=40, prompts_per_step=9, learning_rate=3e-3),
        Stage("grpo", grpo, task, steps=40, prompts_per_step=9, learning_rate=1e-3, warmup_steps=5),
    ),
    evaluation=HeldOut(problems=3, sampled_problems=3, samples=8, max_completion_tokens=16),
)
'''

README = """\
# {name}

A task of your own: words written backwards, rewarded for each letter in its place.

    pytest {name}                      # is the reward right?
    groupwise run {name}/recipe.py     # learn; then open runs/{name}/report.html

| file | what it is | make it yours |
|---|---|---|
| `data.jsonl` | {rows} rows: `question`, `answer` | your rows; `prompt`, `messages` and other names work, too |
| `reward.py` | a function: completion in, number out | what a good answer is worth to you |
| `test_reward.py` | what the reward must say | the answers it has to tell apart |
| `recipe.py` | model, stages, budgets | a model of yours; more steps |

A dozen rows show that everything runs. A model learns the task itself from hundreds.
"""


def new(name: str, directory: Path) -> list[Path]:
    """Writes the task into ``directory / name`` and returns the files.

    Raises UserError for a name that cannot name a task, and where there is something of that name: nothing is
    overwritten.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,63}", name):
        raise UserError(f"{name!r} can't name a task; use a letter, then letters, digits, - and _, 64 at most")
    home = directory / name
    rows = [{"question": f"Write {word} backwards.", "answer": word[::-1]} for word in WORDS]
    files = {
        "data.jsonl": "".join(f"{json.dumps(row)}\n" for row in rows),
        "reward.py": REWARD,
        "test_reward.py": TEST,
        "recipe.py": RECIPE.format(name=name),
        "README.md": README.format(name=name, rows=len(rows)),
    }
    try:
        home.mkdir(parents=True)
    except FileExistsError as error:
        raise UserError(f"{home} is there already, and nothing is overwritten; choose another name") from error
    except OSError as error:
        raise UserError(f"{home} cannot be made ({error.strerror}); choose another directory") from error
    for file, text in files.items():
        (home / file).write_text(text, encoding="utf-8")
    return [home / file for file in files]
