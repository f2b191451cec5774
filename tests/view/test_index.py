"""Numbers by which rollouts are found."""

from __future__ import annotations

import numpy as np
import pytest

from groupwise.errors import UserError
from groupwise.view.filters import Filter
from groupwise.view.index import LedgerIndex
from groupwise.view.ledger_numbers import plain_numbers, token_numbers
from groupwise.view.prompts import often_drawn, prompt_over_time
from groupwise.view.search import Search


@pytest.fixture
def index(make_run):
    found = LedgerIndex(make_run() / "ledger")
    found.refresh()
    while found.read_tokens():
        pass
    return found


def places(index, **fields):
    """(step, row) of what a filter finds, in order."""
    found = Search(index).page(Filter.of(fields), 0, 50)
    return [(one["step"], one["row"]) for one in found["rows"]]


def test_numbers_of_a_rollout_are_its_tokens(make_run):
    path = make_run() / "ledger" / "grpo" / "000001.parquet"
    plain, tokens = plain_numbers(path), token_numbers(path)
    assert plain["reward"].tolist() == [1, 0, 0, 0]
    assert plain["finished"].tolist() == [1, 1, 0, 1]
    assert plain["signal"].tolist() == [1, 1, 0, 0]
    assert tokens["length"].tolist() == [5, 2, 3, 4]
    assert tokens["push"] == pytest.approx([0.5, 0, 0, 0])  # five tokens of 0.1
    assert tokens["kl"] == pytest.approx([0.25] * 4)
    assert tokens["surprise"] == pytest.approx([0.5] * 4)
    assert tokens["gap"] == pytest.approx([0.0] * 4)
    assert tokens["entropy"] == pytest.approx([0.25] * 4)


def test_what_was_not_sampled_counts_nowhere(tmp_path, hand):
    one = hand.row(1, 0, 2.0, [1, 2, 3], mask=[True, False, True], coefficients=[0.5, 9.0, -0.25])
    numbers = token_numbers(hand.write_step(tmp_path, [one]))
    assert numbers["length"].tolist() == [2]
    assert numbers["push"] == pytest.approx([0.25])


def test_lists_that_are_missing_or_empty_are_nan(tmp_path, hand):
    bare = {"reference_logprobs": None, "entropy": None}
    empty = hand.row(1, 1, None, [], **bare) | {"reward_tokens": [], "reward_values": []}
    numbers = token_numbers(hand.write_step(tmp_path, [hand.row(1, 0, 1.0, [1], **bare), empty]))
    assert np.isnan(numbers["kl"]).all()
    assert np.isnan(numbers["entropy"]).all()
    assert numbers["length"].tolist() == [1, 0]
    assert numbers["gap"].tolist() == [0, 0]


def test_a_file_that_is_none_is_passed_over(make_run):
    directory = make_run()
    (directory / "ledger" / "grpo" / "000004.parquet").write_bytes(b"half")
    (directory / "ledger" / "grpo" / "notes.parquet").write_bytes(b"")
    index = LedgerIndex(directory / "ledger")
    index.refresh()
    assert index.table.size == 12


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"first": "2", "last": "2"}, [(2, 0), (2, 1), (2, 2), (2, 3)]),
        ({"least": "1"}, [(3, 0), (2, 0), (1, 0)]),
        ({"most": "0", "last": "1"}, [(1, 1), (1, 2), (1, 3)]),
        ({"finished": "no"}, [(3, 2), (2, 2), (1, 2)]),
        ({"signal": "yes", "last": "1"}, [(1, 0), (1, 1)]),
        ({"correct": "yes", "order": "oldest"}, [(1, 0), (2, 0), (3, 0)]),
        ({"shortest": "5"}, [(3, 0), (2, 0), (1, 0)]),
        ({"longest": "2", "last": "1"}, [(1, 1)]),
        ({"example": "train:1", "last": "1"}, [(1, 2), (1, 3)]),
        ({"example": "no such"}, []),
        ({"stage": "sft"}, []),
        ({"group": "1", "first": "3"}, [(3, 2), (3, 3)]),
        ({"part": "answer", "least": "1", "first": "3"}, [(3, 0)]),
        ({"part": "no such", "least": "1"}, []),
        ({"status": "failed"}, []),
        ({"status": "scored", "first": "3"}, [(3, 0), (3, 1), (3, 2), (3, 3)]),
        ({"text": "#### 2"}, [(3, 0), (2, 0), (1, 0)]),
        ({"text": "<SCRIPT", "first": "2"}, [(3, 2), (2, 2)]),
        ({"text": "nobody says this"}, []),
        ({"last": "1", "order": "high:reward"}, [(1, 0), (1, 1), (1, 2), (1, 3)]),
        ({"last": "1", "order": "low:length"}, [(1, 1), (1, 2), (1, 3), (1, 0)]),
        ({"last": "1", "order": "high:push", "most": "1"}, [(1, 0), (1, 1), (1, 2), (1, 3)]),
    ],
)
def test_a_filter_finds(index, fields, found):
    assert places(index, **fields) == found


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"order": "reward; drop"}, "order is"),
        ({"first": "one"}, "first is 'one'"),
        ({"first": "9" * 40}, "below"),
        ({"least": "nan"}, "least is 'nan'"),
        ({"finished": "maybe"}, "expected yes, no"),
        ({"text": "x" * 600}, "600 letters"),
    ],
)
def test_a_filter_says_what_is_wrong(fields, words):
    with pytest.raises(UserError, match=words):
        Filter.of(fields)


def test_a_reward_that_is_missing_stands_last_in_both_orders(tmp_path, hand):
    rows = [hand.row(1, 0, None, [1, 0]), hand.row(1, 0, 0.5, [2, 0]), hand.row(1, 0, -1.0, [3, 0])]
    hand.write_step(tmp_path, rows)
    index = LedgerIndex(tmp_path / "ledger")
    index.refresh()
    assert places(index, order="high:reward") == [(1, 1), (1, 2), (1, 0)]
    assert places(index, order="low:reward") == [(1, 2), (1, 1), (1, 0)]


def test_a_page_after_another(index):
    search = Search(index)
    first, second = (search.page(Filter.of({}), offset, 5)["rows"] for offset in (0, 5))
    assert [(one["step"], one["row"]) for one in first + second] == [
        *((3, n) for n in range(4)),
        *((2, n) for n in range(4)),
        (1, 0),
        (1, 1),
    ]


def test_a_step_that_is_written_again_replaces_itself(make_run, hand):
    directory = make_run()
    index = LedgerIndex(directory / "ledger")
    index.refresh()
    hand.write_step(directory, [hand.row(2, 0, 0.75, [1, 2, 3, 0])])
    assert index.refresh()
    assert places(index, first="2", last="2") == [(2, 0)]
    found = Search(index).page(Filter.of({"first": "2", "last": "2"}), 0, 5)
    assert found["rows"][0]["reward"] == 0.75
    assert not index.refresh()


def test_a_ledger_that_is_removed_is_forgotten(make_run, hand):
    directory = make_run()
    index = LedgerIndex(directory / "ledger")
    index.refresh()
    for path in (directory / "ledger" / "grpo").glob("*"):
        path.unlink()
    index.refresh()
    assert index.table.size == 0
    hand.write_step(directory, hand.step_of(1))
    index.refresh()
    assert index.table.size == 4


def test_a_search_for_a_text_goes_on_where_it_was(index, monkeypatch):
    monkeypatch.setattr("groupwise.view.search.SECONDS", -1.0)  # no time at all: nothing is looked at
    search, wanted = Search(index), Filter.of({"text": "#### 2"})
    assert search.page(wanted, 0, 5)["searched"] == 0
    monkeypatch.setattr("groupwise.view.search.SECONDS", 60.0)
    found = search.page(wanted, 0, 5)
    assert (found["searched"], found["total"]) == (1.0, 3)


def test_an_example_over_time(index):
    found = prompt_over_time(index, "grpo", "train:0")
    assert [step["step"] for step in found["steps"]] == [1, 2, 3]
    assert [one["reward"] for one in found["steps"][0]["rollouts"]] == [1, 0]
    assert found["answer"] == "2"
    assert [one["example"] for one in often_drawn(index, "grpo")] == ["train:0", "train:1"]
    assert often_drawn(index, "grpo", "0")[0] == {"example": "train:0", "steps": 3, "mean": 0.5}
    assert prompt_over_time(index, "grpo", "no such")["steps"] == []
    assert prompt_over_time(index, "no such", "train:0")["steps"] == []
