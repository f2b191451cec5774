"""Several files in one task: each in its own convention, with weights, held out of each, and epochs that add up."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.sources.rows import row_order
from groupwise.tasks import Task, from_file
from groupwise.tasks.shares import Share, epoch_size, rows_of_epoch, weight_of
from groupwise.training.stage import Stage
from groupwise.types import Example


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    sums = [{"question": f"{n}+1=", "answer": n + 1} for n in range(20)]
    talks = [
        {"messages": [{"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": "!"}]} for n in range(30)
    ]
    return write(tmp_path / "sums.jsonl", sums), write(tmp_path / "talks.jsonl", talks)


def test_files_of_different_conventions(files: tuple[Path, Path]) -> None:
    task = from_file(files)
    assert task.name == "sums+talks"
    assert Counter(row.id.partition(":")[0] for row in task.train) == {"sums.jsonl": 18, "talks.jsonl": 27}
    assert Counter(row.id.partition(":")[0] for row in task.held_out) == {"sums.jsonl": 2, "talks.jsonl": 3}
    assert task.shares == ()
    assert "sums.jsonl: 20 rows; prompt: question" in task.source
    assert "talks.jsonl: 30 rows; OpenAI messages" in task.source


def test_weights(files: tuple[Path, Path]) -> None:
    sums, talks = files
    task = from_file([f"{sums}*0.5", f"{talks}*2"], held_out_fraction=0)
    assert [(share.rows, share.weight, share.per_epoch) for share in task.shares] == [(20, 0.5, 10), (30, 2.0, 60)]
    assert task.source.endswith("an epoch takes 70 rows: 10 of sums.jsonl, 60 of talks.jsonl")
    assert from_file([f"{sums}*1", talks]).shares == ()
    assert from_file(f"{sums}*0.5", held_out_fraction=0).shares[0].per_epoch == 10


@pytest.mark.parametrize("weight", ["0", "-1", "nan", "inf"])
def test_a_weight_that_is_none(files: tuple[Path, Path], weight: str) -> None:
    with pytest.raises(UserError, match=f"the weight is {weight}; expected a number above 0"):
        from_file(f"{files[0]}*{weight}")


def test_a_star_in_a_file_s_name_is_no_weight(tmp_path: Path) -> None:
    path = write(tmp_path / "a*2", [])
    assert weight_of("a.jsonl*b") == ("a.jsonl*b", 1.0)
    named = path.rename(tmp_path / "a*2.jsonl")
    named.write_text('{"question": "a", "answer": "b"}\n')
    assert from_file(named).train[0].answer == "b"


def test_a_file_given_twice_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(UserError, match=r"sums.jsonl is given twice; expected every file once: a weight of 2"):
        from_file([files[0], f"{files[0]}*0.5"])


def test_files_of_one_name_have_different_ids(tmp_path: Path) -> None:
    row = [{"question": "a", "answer": "b"}]
    both = [write(tmp_path / name / "train.jsonl", row) for name in ("x", "y")]
    task = from_file(both, held_out_fraction=0)
    assert len({example.id for example in task.train}) == 2
    assert task.name == "train"


def test_a_question_held_out_of_one_file_is_trained_on_in_none(tmp_path: Path) -> None:
    rows = [{"question": f"{n}+1=", "answer": n + 1} for n in range(20)]
    task = from_file([write(tmp_path / "a.jsonl", rows), write(tmp_path / "b.jsonl", rows[:10])], held_out_fraction=0.3)
    assert not {row.prompt for row in task.train} & {row.prompt for row in task.held_out}
    assert len(task.train) + len(task.held_out) == 30


def test_held_out_files_may_be_several_too(files: tuple[Path, Path]) -> None:
    task = from_file(files[0], held_out=files)
    assert (len(task.train), len(task.held_out)) == (20, 50)


SHARES = st.lists(
    st.builds(Share, st.just("a"), st.integers(1, 40), st.floats(0.05, 3.0)), min_size=1, max_size=4
)  # fmt: skip


@given(SHARES, st.integers(0, 5), st.randoms(use_true_random=False))
def test_an_epoch_takes_of_each_file_what_its_weight_says(shares: list[Share], epoch: int, random: Any) -> None:
    orders = [random.sample(range(share.rows), share.rows) for share in shares]
    taken = rows_of_epoch(shares, epoch, orders)
    assert len(taken) == epoch_size(shares)
    start = 0
    for share in shares:
        own = [row for row in taken if start <= row < start + share.rows]
        assert len(own) == share.per_epoch == max(1, round(share.rows * share.weight))
        counts = Counter(own).values()
        assert max(counts) - (min(counts) if len(counts) == share.rows else 0) <= 1  # nobody twice before all once
        start += share.rows


@given(st.integers(1, 30), st.integers(1, 30))
def test_parts_of_a_file_take_turns(rows: int, wanted: int) -> None:
    """After as many epochs as it has rows, every row has come equally often."""
    share = Share("a", rows, wanted / rows)
    order = list(range(rows))[::-1]
    counts = Counter(row for epoch in range(rows) for row in rows_of_epoch([share], epoch, [order]))
    assert set(counts.values()) == {share.per_epoch}
    assert len(counts) == rows


def test_the_order_is_a_function_of_seed_and_epoch(files: tuple[Path, Path]) -> None:
    from groupwise import recipes
    from groupwise.tokens.renderer import Renderer
    from groupwise.training.stage import draw_context

    task = from_file([f"{files[0]}*0.5", files[1]], held_out_fraction=0)
    stage = Stage("sft", recipes.sft, task, 1)

    def order(seed: int, epoch: int) -> tuple[int, ...]:
        return row_order(draw_context(stage, Renderer(None), None, seed), epoch)  # type: ignore[arg-type]

    assert order(0, 3) == order(0, 3)
    assert order(0, 3) != order(1, 3)
    first, second = (set(order(0, epoch)) & set(range(20)) for epoch in (0, 1))
    assert first | second == set(range(20))
    assert not first & second
    assert [len(order(0, epoch)) for epoch in range(4)] == [40] * 4


def test_rows_that_go_keep_the_weights_of_those_that_stay() -> None:
    rows = [Example(str(number), str(number)) for number in range(5)]
    task = Task("mixed", rows, shares=(Share("a", 2, 0.5), Share("b", 3)))
    kept = task.with_rows([True, False, True, False, True])
    assert [row.id for row in kept.train] == ["0", "2", "4"]
    assert kept.shares == (Share("a", 1, 0.5), Share("b", 2))
    assert Task("plain", rows).with_rows([True] * 5).shares == ()
