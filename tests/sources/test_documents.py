"""Documents: every token once, in order, across stops, at the weights that were asked for."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from typing import Any, ClassVar

import pytest

from groupwise.errors import UserError
from groupwise.sources import Documents, DrawContext
from groupwise.tasks.shares import Share
from groupwise.tasks.task import Task
from groupwise.types import Example, Group, flatten


class Letters:
    """A renderer whose tokens are letters; EOS is 0."""

    eos_token_id = 0
    added_tokens_decoder: ClassVar[dict[int, Any]] = {}
    all_special_tokens: ClassVar[list[str]] = []

    def __init__(self) -> None:
        self.tokenizer: Any = self

    def decode(self, tokens: list[int], skip_special_tokens: bool = True) -> str:
        return "".join(map(chr, filter(None, tokens)))

    def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
        return list(map(ord, text))


class Room:
    context_tokens = 5


TEXTS = ("abcdefg", "hi", "", "jklm", "nopqrstuvw")


def context(texts: tuple[str, ...] = TEXTS, shares: tuple[Share, ...] = (), **changed: Any) -> DrawContext:
    rows = tuple(Example(f"row:{n}", "", text) for n, text in enumerate(texts))
    made: Any = DrawContext("pretrain", Task("texts", rows, shares=shares), 3, Letters(), Room(), seed=1)  # type: ignore[arg-type]
    return replace(made, **changed)


def drawn(source: Documents, where: DrawContext, steps: int, position: Any = None) -> tuple[list[list[Group]], Any]:
    found, position = [], position or {}
    for _ in range(steps):
        batch = source.draw(where, position)
        position = json.loads(json.dumps(batch.position))  # as a checkpoint keeps it
        found.append(batch.groups)
    return found, position


def learned(steps: list[list[Group]]) -> list[int]:
    return [token for groups in steps for rollout in flatten(groups) for token in rollout.tokens]


def test_an_epoch_learns_every_token_once_in_the_order_of_its_documents() -> None:
    where = context()
    steps, _ = drawn(Documents(), where, 6)
    text = learned(steps)
    epoch = "".join(map(chr, text)).split("\0")[:4]
    assert sorted(epoch) == sorted(text for text in TEXTS if text)


def test_sequences_are_full_and_begin_with_the_last_token_of_the_one_before() -> None:
    steps, _ = drawn(Documents(), context(), 4)
    sequences = [rollout for groups in steps for rollout in flatten(groups)]
    assert {len(each.prompt.tokens) + len(each.tokens) for each in sequences} == {5}
    assert sequences[0].prompt.tokens == (0,)
    for one, next_one in itertools.pairwise(sequences):
        assert next_one.prompt.tokens[0] == one.tokens[-1]


def test_a_position_goes_on_with_the_very_next_token() -> None:
    whole, end = drawn(Documents(), context(), 7)
    first, middle = drawn(Documents(), context(), 3)
    rest, same = drawn(Documents(), context(), 4, middle)
    assert learned(whole) == learned(first + rest)
    assert end == same


@pytest.mark.parametrize("across", [True, False])
def test_a_run_that_stops_at_any_step_learns_the_same(across: bool) -> None:
    where = context(
        (*TEXTS, "", "x" * 23, "y"), (Share("a", 5, 0.4), Share("b", 3, 0.6)), prompts_per_step=1
    )  # fmt: skip
    source = Documents(across_documents=across)
    whole, end = drawn(source, where, 12)
    position: Any = {}
    for step in range(12):
        (groups,), position = drawn(source, where, 1, position)
        assert learned([groups]) == learned([whole[step]])
        assert [each.prompt.tokens for each in groups] == [each.prompt.tokens for each in whole[step]]
    assert position == end


def test_a_file_of_empty_documents_is_named() -> None:
    where = context(("", "", "abc"), (Share("no.jsonl", 2, 0.5), Share("some.jsonl", 1, 0.5)))
    with pytest.raises(UserError, match=r"every document of no\.jsonl is empty"):
        drawn(Documents(), where, 3)


def test_a_sequence_of_one_document_never_goes_on_with_another() -> None:
    steps, _ = drawn(Documents(across_documents=False), context(), 4)
    for groups in steps:
        assert sum(len(rollout.tokens) for rollout in flatten(groups)) == 12
        for rollout in flatten(groups):
            assert 0 not in rollout.tokens[:-1]
            assert chr(rollout.tokens[0]) in str(rollout.prompt.example.completion)
    across, _ = drawn(Documents(), context(), 4)
    assert learned(steps) == learned(across)


def test_weights_share_the_tokens_whatever_the_lengths_of_documents() -> None:
    where = context(("a" * 50,) * 3 + ("b" * 3,) * 40, (Share("a", 3, 0.75), Share("b", 40, 0.25)))
    steps, position = drawn(Documents(), where, 100)
    text = [token for token in learned(steps) if token]
    assert text.count(ord("a")) / len(text) == pytest.approx(0.75 * 50 / 51 / (0.75 * 50 / 51 + 0.25 * 3 / 4), abs=0.03)
    (_, a), (_, b) = position["files"]
    assert a / (a + b) == pytest.approx(0.75, abs=0.03)


def test_epochs_are_shuffled_by_the_seed() -> None:
    one, _ = drawn(Documents(), context(), 6)
    other, _ = drawn(Documents(), replace(context(), seed=2), 6)
    assert learned(one) != learned(other)


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UserError, match="every document of texts is empty"):
        Documents().draw(context(("", "")), {})
    with pytest.raises(UserError, match="context has 5"):
        Documents(sequence_tokens=9).draw(context(), {})
    with pytest.raises(UserError, match="no training rows"):
        Documents().draw(context(()), {})


def test_rows_with_prompts_are_no_documents() -> None:
    from groupwise.recipes.pretrain import pretrain

    task = Task("asked", (Example("row:0", "question", "answer"),))
    assert "row:0 has a prompt" in next(Documents().task_complaints(pretrain, task))
