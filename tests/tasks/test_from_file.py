"""Tasks out of files: rewards by any name they have, a held-out part that shares no question with the rest."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.rewards import FinalAnswer
from groupwise.tasks import from_file, gsm8k
from groupwise.tasks.from_file import split
from groupwise.types import Example

DATA = Path(__file__).resolve().parents[2] / "../shared/data"


def rows_file(directory: Path, count: int = 20, name: str = "sums.jsonl") -> Path:
    path = directory / name
    path.write_text("\n".join(json.dumps({"question": f"{n}+{n}=", "answer": str(2 * n)}) for n in range(count)))
    return path


def test_a_task_out_of_a_file(tmp_path):
    task = from_file(rows_file(tmp_path), FinalAnswer(), system="Add.", chat="always")
    assert (task.name, task.system, task.chat) == ("sums", "Add.", "always")
    assert (len(task.train), len(task.held_out)) == (18, 2)
    assert task.rewards == (FinalAnswer(),)
    assert {example.id for example in (*task.train, *task.held_out)} == {f"sums.jsonl:{line}" for line in range(1, 21)}


def test_the_held_out_part_may_be_a_file_of_its_own(tmp_path):
    held_out = rows_file(tmp_path, 5, "test.jsonl")
    task = from_file(rows_file(tmp_path), FinalAnswer(), held_out=held_out, limit=3, name="mine")
    assert task.name == "mine"
    assert [example.id for example in task.held_out] == ["test.jsonl:1", "test.jsonl:2", "test.jsonl:3"]
    assert [example.prompt for example in task.train] == ["0+0=", "1+1=", "2+2="]


def shortness(completion: str) -> float:
    return -float(len(completion))


def test_rewards_may_be_functions_names_and_several(tmp_path):
    task = from_file(rows_file(tmp_path), (shortness, "answer"))
    assert [reward.name for reward in task.rewards] == ["shortness", "answer"]
    assert from_file(rows_file(tmp_path)).rewards == ()


@given(prompts=st.lists(st.sampled_from("abcdefgh"), min_size=1), fraction=st.floats(0, 0.99), seed=st.integers(0, 99))
def test_split_keeps_every_row_and_parts_no_question(prompts, fraction, seed):
    rows = [Example(str(index), prompt) for index, prompt in enumerate(prompts)]
    train, held_out = split(rows, fraction, seed)
    assert sorted((*train, *held_out), key=rows.index) == rows
    assert not {row.prompt for row in train} & {row.prompt for row in held_out}
    assert train
    assert bool(held_out) == (fraction > 0 and len(set(prompts)) > 1)
    assert split(rows, fraction, seed) == (train, held_out)


def test_another_seed_holds_out_other_questions():
    rows = [Example(str(number), str(number)) for number in range(100)]
    assert split(rows, 0.1, 0)[1] != split(rows, 0.1, 1)[1]
    assert len(split(rows, 0.1, 0)[1]) == 10


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prompt_column": "qestion"}, r'sums.jsonl: no column "qestion", perhaps you meant "question"'),
        ({"limit": 0}, "limit is 0; expected at least 1"),
        ({"held_out_fraction": 1.0}, "held_out_fraction is 1.0"),
        ({"held_out": "no_such.jsonl"}, "no_such.jsonl: no such file"),
    ],
)
def test_errors_say_what_was_seen(tmp_path, options, message):
    with pytest.raises(UserError, match=message):
        from_file(rows_file(tmp_path), FinalAnswer(), **options)


def test_an_unknown_reward_is_an_error(tmp_path):
    with pytest.raises(UserError, match="unknown reward 'anser'"):
        from_file(rows_file(tmp_path), "anser")


@pytest.mark.skipif(not DATA.exists(), reason="the real data is not here")
def test_gsm8k():
    task = gsm8k(DATA / "gsm8k/train.jsonl", DATA / "gsm8k/test.jsonl")
    assert (len(task.train), len(task.held_out), task.name) == (7473, 1319, "gsm8k")
    assert task.held_out[0].answer == "18"
    assert task.rewards == (FinalAnswer(),)
    few = gsm8k(DATA / "gsm8k/train.jsonl", limit=40)
    assert (len(few.train), len(few.held_out)) == (36, 4)


def count(n: int) -> int:
    """Counts.

    Args:
        n: How far.
    """
    return n


class Counting:
    def reset(self, start: int = 0, **columns: object) -> None:
        self.value = start

    def add(self, n: int) -> int:
        """Adds.

        Args:
            n: How much.
        """
        self.value += n
        return self.value


def near_three(environments: list[Counting], **columns: object) -> list[float]:
    return [-abs(3.0 - each.value) for each in environments]


def test_an_environment_or_tools_beside_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"question": "1+1?", "answer": "2"}\n{"question": "1+2?", "answer": "3"}\n')
    task = from_file(path, "math", tools=[count], turns=3)
    assert [reward.name for reward in task.rewards] == ["math", "tools"], "who judges goes first"
    assert task.budget.most == 3
    assert task.judge is not None
    assert task.judge.reward.name == "math"
    task = from_file(path, near_three, environment=Counting)
    assert [reward.name for reward in task.rewards] == ["Counting"]
    task = from_file(path, "math", environment=Counting)
    assert [reward.name for reward in task.rewards] == ["math", "Counting"]
    with pytest.raises(UserError, match="a reward asks for environments, but there is no environment"):
        from_file(path, near_three)
    with pytest.raises(UserError, match=r'turns is 3, but there is no environment .* expected turns "last" or "all"'):
        from_file(path, "math", turns=3)
    with pytest.raises(UserError, match="the environment 'chess' is unknown"):
        from_file(path, environment="chess")


@pytest.mark.parametrize(
    ("name", "word"),
    [("chat", "sometimes"), ("turns", "first"), ("structured_answers", "maybe"), ("demonstrations", ""), ("system", 5)],
)
def test_a_word_that_is_no_choice_is_refused(name: str, word: object, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"question": "2+3", "answer": "5"}\n', encoding="utf-8")
    with pytest.raises(UserError, match=f"{name} is {word!r}; expected"):
        from_file(path, **{name: word})  # type: ignore[arg-type]
