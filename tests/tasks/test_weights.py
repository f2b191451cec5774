"""Messages that say themselves whether they are learned: weight 0 is context, weight 1 is learned, anything else is an
error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.learners.loading import load_tokenizer
from groupwise.tasks.conventions import Reading, examples, recognise
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example


def user(text: str, **said: Any) -> dict[str, Any]:
    return {"role": "user", "content": text, **said}


def own(text: str, **said: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **said}


def read(*rows: Mapping[str, Any], **reading: Any) -> list[Example]:
    numbered = [(f"a.jsonl:{number}", row) for number, row in enumerate(rows, 1)]
    return examples(numbered, recognise(numbered, reading=Reading(**reading)))


def learned(example: Example) -> list[str]:
    """The texts that are learned."""
    if not isinstance(example.completion, tuple):
        return [example.completion] if example.completion else []
    return [
        message["content"]
        for place, message in enumerate(example.completion)
        if message["role"] == "assistant" and place not in example.context_turns
    ]


@pytest.mark.parametrize(
    ("first", "second", "last", "all_turns"),
    [
        ({"weight": 0}, {"weight": 1}, ["d"], ["d"]),
        ({"weight": 1}, {"weight": 0}, ["b"], ["b"]),
        ({"weight": 1}, {"weight": 1}, ["b", "d"], ["b", "d"]),
        ({"weight": 1}, {}, ["b", "d"], ["b", "d"]),
        ({"weight": 0}, {}, ["d"], ["d"]),
        ({}, {"weight": 0}, [], ["b"]),
        ({}, {"weight": None}, ["d"], ["b", "d"]),
        ({"weight": 0}, {"weight": 0}, [], []),
        ({"weight": 0.0}, {"weight": 1.0}, ["d"], ["d"]),
        ({"weight": "0"}, {"weight": "1"}, ["d"], ["d"]),
        ({"weight": False}, {"weight": True}, ["d"], ["d"]),
        ({"train": False}, {"train": True}, ["d"], ["d"]),
        ({"training": True}, {"training": False}, ["b"], ["b"]),
        ({"trainable": "true"}, {"loss": "false"}, ["b"], ["b"]),
        ({"masked": True}, {"masked": False}, ["d"], ["d"]),
        ({"weight": 0, "train": False}, {}, ["d"], ["d"]),
    ],
)
def test_a_weight_goes_before_the_turns_that_are_learned(
    first: dict[str, Any], second: dict[str, Any], last: list[str], all_turns: list[str]
) -> None:
    talk = [user("a"), own("b", **first), user("c"), own("d", **second)]
    sharegpt = [
        {"from": {"user": "human", "assistant": "gpt"}[message["role"]], "value": message["content"]}
        | {key: value for key, value in message.items() if key not in ("role", "content")}
        for message in talk
    ]
    for row in ({"messages": talk}, {"conversations": sharegpt}, {"messages": json.dumps(talk)}):
        for turns, expected in (("last", last), ("all", all_turns)):
            (example,) = read(row, turns=turns)
            assert learned(example) == expected
            assert example.is_bad == (not expected)


def test_a_turn_between_two_learned_ones_is_context() -> None:
    (example,) = read(
        {"messages": [user("a"), own("b"), user("c"), own("d", weight=0), user("e"), own("f")]}, turns="all"
    )
    assert example.prompt == (user("a"),)
    assert example.completion == (own("b"), user("c"), own("d"), user("e"), own("f"))
    assert example.context_turns == (2,)


def test_what_is_sampled_begins_where_the_first_learned_turn_does() -> None:
    (example,) = read({"messages": [user("a"), own("b", weight=1), user("c")]})
    assert (example.prompt, example.completion) == ((user("a"),), "b")
    (example,) = read({"messages": [user("a"), own("b", weight=0), user("c")]})
    assert (example.prompt, example.completion) == ((user("a"), own("b"), user("c")), None)
    assert not example.is_bad  # a question of which nothing was to be learned


def test_the_mask_leaves_context_out(tiny_model: Path) -> None:
    (example,) = read(
        {"messages": [user("a"), own("b"), user("c"), own("d", weight=0), user("e"), own("f")]}, turns="all"
    )
    (every,) = read({"messages": [user("a"), own("b"), user("c"), own("d"), user("e"), own("f")]}, turns="all")
    renderer = Renderer(load_tokenizer(str(tiny_model)))
    rollout, whole = renderer.demonstration(example), renderer.demonstration(every)
    assert rollout.tokens == whole.tokens
    assert whole.text.replace("<|end|>", "") == "bdf"
    assert rollout.text.replace("<|end|>", "") == "bf"
    assert sum(whole.mask) - sum(rollout.mask) == sum(whole.mask) // 3 == 2  # the letter, and what ends its turn


def test_a_completion_of_its_own_column() -> None:
    first, second = read(
        {"prompt": "a", "completion": [own("b", weight=0)]}, {"prompt": "a", "completion": [own("c", weight=1)]}
    )
    assert (first.completion, first.is_bad) == (None, True)
    assert (second.completion, second.is_bad) == ("c", False)
    (example,) = read({"prompt": [user("a")], "completion": [own("b", weight=1), user("c"), own("d")]})
    assert learned(example) == ["b", "d"]
    (example,) = read({"prompt": [user("a")], "completion": [own("b"), user("c"), own("d")]})
    assert learned(example) == ["d"]


@pytest.mark.parametrize("weight", [0.5, 2, -1, "half", [1], {"a": 1}])
def test_what_lies_between_is_an_error(weight: Any) -> None:
    for talk in ([user("a"), own("b", weight=weight)], [user("a"), own("b", weight=weight), user("c"), own("d")]):
        with pytest.raises(UserError, match=r"a.jsonl:1: messages, message 1: weight is .*; expected 0 .* or 1"):
            read({"messages": talk})


@pytest.mark.parametrize(
    "said",
    [
        {"train_detail": [{"begin_offset": 0, "end_offset": 3, "train": False}]},
        {"training_detail": [{"begin_offset": 0}]},
        {"loss_scale": 0.3},
        {"weights": [1, 0]},
        {"loss_mask": [0, 1]},
    ],
)
def test_weights_of_parts_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"message 1 has {next(iter(said))}; a turn is learned as a whole or not"):
        read({"messages": [user("a"), own("b", **said)]})


def test_only_the_assistant_is_learned() -> None:
    assert learned(*read({"messages": [user("a", weight=0), own("b")]})) == ["b"]
    with pytest.raises(UserError, match="message 0 is by user and has weight 1; only the assistant's turns"):
        read({"messages": [user("a", weight=1), own("b")]})
    with pytest.raises(UserError, match="message 1: weight and train contradict each other"):
        read({"messages": [user("a"), own("b", weight=1, train=False)]})
    with pytest.raises(UserError, match="has the assistant's turn only; expected a user's message before it"):
        read({"messages": [own("a", weight=1), user("b"), own("c")]})
    assert learned(*read({"messages": [own("a", weight=0), user("b"), own("c")]})) == ["c"]


def test_a_pair_and_a_history_refuse_what_they_cannot_honour() -> None:
    with pytest.raises(UserError, match=r"a.jsonl:1: rejected: a turn after the prompt has weight 0"):
        read({"prompt": [user("a")], "chosen": [own("b", weight=1)], "rejected": [own("c", weight=0)]})
    sides = {"chosen": [user("a"), own("b", weight=0), user("c"), own("d")]}
    sides["rejected"] = [*sides["chosen"][:3], own("e")]
    assert read(sides)[0].completion == "d"  # what both begin with is the prompt
    with pytest.raises(UserError, match="history: a message says that it is learned"):
        read({"question": "a", "history": [user("b"), own("c", weight=1)], "answer": "d"})


def test_the_first_line_says_that_weights_count() -> None:
    row = {"messages": [user("a"), own("b", weight=1)]}
    assert recognise([("a:1", row)]).description == "OpenAI messages, learned or not as their weights say"
    assert recognise([("a:1", {"messages": [user("a"), own("b", weight=None)]})]).description == "OpenAI messages"
    row = {"question": "a", "answer": "b", "weight": 0.5}
    assert recognise([("a:1", row)]).description.endswith("not used: weight")


def test_a_row_without_weights_is_the_row_that_it_was() -> None:
    """A run knows its rows by how they are written: a new field must not make other rows of them."""
    assert repr(Example("a", "b")) == (
        "Example(id='a', prompt='b', completion=None, answer=None, columns={}, alternatives=(), is_bad=False)"
    )
