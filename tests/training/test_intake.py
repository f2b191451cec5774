"""Before the first step: golds that no reward reads, and what a chat template does to the answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest

from groupwise import recipes
from groupwise.errors import UserError
from groupwise.rewards.alternatives import AnyAnswer, any_of
from groupwise.tasks import Task
from groupwise.tokens.renderer import Renderer
from groupwise.training.intake import template_notes, unreadable, with_readable_golds, with_usable_rows
from groupwise.training.stage import Stage
from groupwise.types import DEMONSTRATED, Example, Prompt, Rollout, Score

from ..tokens.test_renderer import TEMPLATE, make_tokenizer


@dataclass(frozen=True)
class Digits:
    """A reward that reads whole numbers."""

    name: str = "digits"
    weight: float = 1.0

    def score(self, rollouts: Sequence[Rollout]) -> list[Score]:
        return [Score(float(rollout.text == rollout.prompt.example.answer)) for rollout in rollouts]

    def unreadable(self, examples: Sequence[Example]) -> list[str]:
        return ["" if (example.answer or "").isdigit() else "no whole number" for example in examples]


ROWS = [Example(f"a.jsonl:{n}", f"{n}+1=", str(n + 1), "New York City" if n % 3 == 0 else str(n + 1)) for n in range(9)]


def stage(rows: Sequence[Example] = ROWS, held_out: Sequence[Example] = (), method: str = "grpo", **options) -> Stage:
    task = Task("rows", list(rows), (Digits(),), list(held_out))
    return Stage(method, getattr(recipes, method), task, 1, **options)


def test_rows_that_no_reward_reads_are_skipped_and_counted() -> None:
    left, lines = with_readable_golds(stage(held_out=ROWS[:4]))
    assert [row.id for row in left.task.train] == [f"a.jsonl:{n}" for n in range(9) if n % 3]
    assert [row.id for row in left.task.held_out] == ["a.jsonl:1", "a.jsonl:2"]
    assert lines[0].startswith(
        "grpo: 3 of 9 training rows have a reference answer that cannot be read: "
        "a.jsonl:0 'New York City' (digits: no whole number); a.jsonl:3 "
    )
    assert lines[1].startswith("grpo: 2 of 4 held-out rows")


def test_many_are_counted_and_a_few_shown() -> None:
    rows = [replace(row, answer="x") for row in ROWS[:7]] + ROWS[7:]
    (line,) = with_readable_golds(stage(rows))[1]
    assert line.count("a.jsonl:") == 3
    assert " and 4 more; they are skipped" in line


def test_by_option_they_are_an_error() -> None:
    with pytest.raises(UserError, match=r"3 of 9 training rows .* set unreadable_answers to skip"):
        with_readable_golds(stage(unreadable_answers="error"))


def test_all_of_them_are_an_error() -> None:
    with pytest.raises(UserError, match=r"3 of 3 training rows .* expected answers that the reward reads"):
        with_readable_golds(stage(ROWS[::3]))


def test_where_nothing_is_scored_training_rows_stay() -> None:
    left, lines = with_readable_golds(stage(held_out=ROWS[:2], method="sft"))
    assert len(left.task.train) == 9
    assert len(left.task.held_out) == 1
    assert len(lines) == 1


def test_demonstrations_that_are_labelled_bad_are_not_learned_from() -> None:
    rows = [replace(row, completion=None, is_bad=True) if place < 4 else row for place, row in enumerate(ROWS)]
    left, lines = with_usable_rows(stage(rows, method="sft"))
    assert [row.id for row in left.task.train] == [row.id for row in ROWS[4:]]
    assert lines == ["sft: 4 of 9 demonstrations are bad by their label or weight and not learned from"]
    assert len(with_usable_rows(stage(rows))[0].task.train) == 6  # sampled anew: only golds count
    with pytest.raises(UserError, match="sft: all 4 demonstrations are bad by their label or weight"):
        with_usable_rows(stage(rows[:4], method="sft"))


def test_rows_made_on_demand_are_not_asked_about() -> None:
    class Rows(Sequence):
        def __len__(self):
            return 3

        def __getitem__(self, index):
            raise AssertionError

    assert unreadable(Rows(), [Digits()]) == {}


def test_an_answer_out_of_several() -> None:
    rows = [replace(ROWS[1], answer="2", alternatives=("two", "02")), replace(ROWS[2], answer="x", alternatives=("y",))]
    reward = any_of(Digits())
    assert isinstance(reward, AnyAnswer)
    assert reward.unreadable(rows) == ["", "no whole number"]
    prompts = [Prompt(row, (1,)) for row in rows]
    rollouts = [
        Rollout(prompts[row], (1,), (True,), (0.0,), text, True, DEMONSTRATED)
        for row, text in ((0, "two"), (0, "02"), (0, "2"), (0, "3"), (1, "y"), (1, "z"))
    ]
    assert [score.value for score in reward.score(rollouts)] == [1.0, 1.0, 1.0, 0.0, 1.0, 0.0]
    assert (reward.name, reward.weight) == ("digits", 1.0)


THINKING = TEMPLATE.replace(
    "{{ m['content'] }}", "{% if m['role'] == 'assistant' %}<think></think>{% endif %}{{ m['content'] }}"
)
FORGETFUL = TEMPLATE.replace("{{ m['content'] }}", "{{ m['content'].split('</think>')[-1] }}")


def test_what_a_template_adds_is_said_once() -> None:
    renderer = Renderer(make_tokenizer(THINKING))
    lines = template_notes(stage(method="sft"), renderer)
    assert lines == [
        "the chat template writes '<think></think>' beside 9 of 9 answers looked at: it is learned with them"
    ]
    assert template_notes(stage(method="grpo"), renderer) == []
    assert template_notes(stage(method="sft"), Renderer(make_tokenizer())) == []


def test_what_a_template_drops_is_refused() -> None:
    rows = [replace(ROWS[0], completion="<think>2 and 3 make 5</think>#### 5")]
    renderer = Renderer(make_tokenizer(FORGETFUL), name="m")
    message = r"a.jsonl:0: the chat template of m drops or changes .*'<think>2 and 3 .* it writes '#### 5'"
    with pytest.raises(UserError, match=message):
        template_notes(stage(rows, method="sft"), renderer)
    pair = replace(rows[0], columns={"chosen": rows[0].completion, "rejected": "#### 9"})
    with pytest.raises(UserError, match=message):
        template_notes(stage([pair], method="dpo"), renderer)
    assert template_notes(stage(rows, method="grpo"), renderer) == []
    appended = Renderer(make_tokenizer(FORGETFUL), demonstrations="appended")
    assert template_notes(stage(rows, method="sft"), appended) == []
    assert appended.demonstration(rows[0]).text == rows[0].completion


def test_arguments_of_rows_that_the_template_does_not_read_are_said() -> None:
    rows = [replace(row, columns={"chat_template_kwargs": {"enable_thinking": False}}) for row in ROWS]
    assert template_notes(stage(rows), Renderer(make_tokenizer())) == [
        "the chat template does not read enable_thinking, which 9 rows set"
    ]
