"""Labels of steps come to the token where the step ends, whatever separates the steps and however they are rendered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from groupwise import UserError
from groupwise.sources import DrawContext, StepLabels
from groupwise.tasks import from_file
from groupwise.tokens.renderer import Renderer
from groupwise.training.stage import draw_context
from groupwise.types import DEMONSTRATED, Example

Open = Callable[..., DrawContext]
DATA = Path(__file__).resolve().parents[2] / "../shared/data/big-bench-mistake"
SOURCE = StepLabels()


def row(steps: Sequence[str], labels: Sequence[Any], id: str = "row:0", prompt: Any = "1 + 1 =") -> Example:
    return Example(id, prompt, columns={"completions": list(steps), "labels": list(labels)})


BOTH = row(["one", "two words"], [True, False])


def shown(renderer: Renderer, tokens: Sequence[int]) -> str:
    return renderer.decode(tokens)


def test_a_row_by_hand(world: Open) -> None:
    here = world(SOURCE, [BOTH], prompts_per_step=1)
    draw = SOURCE.draw(here, {})
    ((rollout,),) = [group.rollouts for group in draw.groups]
    assert rollout.text == "one\ntwo words"
    assert (rollout.version, rollout.finished, rollout.prompt.example) == (DEMONSTRATED, True, BOTH)
    # A token a byte here, and EOS, which belongs to no step.
    assert rollout.rewards == {2: 1.0, 12: 0.0}
    assert rollout.steps == (2, 12)
    assert len(rollout.tokens) == 14
    assert draw.metrics == {
        "prompts_too_long": 0,
        "steps/rewritten": 0,
        "steps/merged": 0,
        "steps/labelled": 2,
        "steps/right_share": 0.5,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(
    steps=st.lists(st.text(min_size=1, max_size=8).filter(lambda text: text.strip()), min_size=1, max_size=4),
    separator=st.sampled_from(["\n", "\n\n", " ки ", "", "好"]),
    data=st.data(),
)
def test_the_text_up_to_a_label_ends_with_its_step(
    world_once: DrawContext, steps: list[str], separator: str, data: st.DataObject
) -> None:
    labels = [data.draw(st.sampled_from([True, False, 0, 1, 0.25])) for _ in steps]
    examples = [row(steps, labels), row(["a", "b"], [0, 1], "row:1")]
    here = replace(world_once, prompts_per_step=2)
    here = replace(here, task=replace(here.task, train=examples))
    groups = StepLabels(separator).draw(here, {}).groups
    (rollout,) = (group.rollouts[0] for group in groups if group.prompt.example.id == "row:0")
    beginnings = [separator.join(steps[: place + 1]).rstrip() for place in range(len(steps))]
    assert [shown(here.renderer, rollout.tokens[: end + 1]) for end in rollout.steps] == beginnings
    assert list(rollout.rewards.values()) == [float(label) for label in labels]
    assert tuple(rollout.rewards) == rollout.steps


@pytest.fixture(scope="module")
def world_once(tmp_path_factory: pytest.TempPathFactory) -> DrawContext:
    """As ``world``, one for all examples of a property."""
    from groupwise import Local, Native, NewModel, Stage, Task, recipes

    directory = tmp_path_factory.mktemp("model")
    NewModel(hidden_size=16, layers=1, heads=1, intermediate_size=16, context_tokens=512).save(directory)
    learner = Local(device="cpu").open(directory)
    stage = Stage("stage", replace(recipes.grpo, source=SOURCE), Task("rows", ()), steps=1)
    engine = Native().open(learner.directory, learner.live_module(), learner.tokenizer)
    return draw_context(stage, Renderer(learner.tokenizer), engine, seed=7)


def test_a_conversation_has_its_steps_in_the_assistants_turn(world: Open) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}\x00{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    here = world(SOURCE, [row([" a", "b "], [1, 0], prompt=[{"role": "user", "content": "q"}])], prompts_per_step=1)
    here.renderer.tokenizer.chat_template = template
    (group,) = SOURCE.draw(here, {}).groups
    (rollout,) = group.rollouts
    assert rollout.text.startswith("a\nb")
    assert rollout.rewards == {0: 1.0, 2: 0.0}


def test_steps_that_a_template_rewrites_are_passed_over_and_counted(world: Open) -> None:
    template = "{% for m in messages %}[{{ m.role }}]{{ m.content | replace('x', 'y') }}\x00{% endfor %}"
    template += "{% if add_generation_prompt %}[assistant]{% endif %}"
    here = world(SOURCE, [row(["x"], [1]), row(["b"], [0], "row:1")], prompts_per_step=2)
    here.renderer.tokenizer.chat_template = template
    draw = SOURCE.draw(here, {})
    assert {group.prompt.example.id for group in draw.groups} == {"row:1"}
    assert draw.metrics["steps/rewritten"] > 0
    none = world(SOURCE, [row(["x"], [1]), row(["x"], [0], "row:1")])
    none.renderer.tokenizer.chat_template = template
    with pytest.raises(UserError, match=r"no row of rows that was tried can be used: .* whose steps the chat template"):
        SOURCE.draw(none, {})


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (row(["a", "b"], [True], "row:1"), "row:1: 1 label for 2 steps; expected one a step"),
        (row(["a", " "], [True, False], "row:1"), r"row:1: completions\[1\] is empty"),
        (row([], [], "row:1"), "row:1: completions is empty list"),
        (row(["a"], [2], "row:1"), r"row:1: labels\[0\] is int '2'; expected true, false or a number in 0 \.\. 1"),
        (row(["a"], [float("nan")], "row:1"), r"row:1: labels\[0\] is float 'nan'"),
        (row(["a"], [None], "row:1"), r"row:1: labels\[0\] is null"),
        (row(["a"], ["yes"], "row:1"), r"row:1: labels\[0\] is str 'yes'"),
        (Example("row:1", "q", columns={"completion": "a"}), 'row:1: no column "completions", perhaps you meant'),
    ],
)
def test_a_row_that_is_no_row_is_named(world: Open, example: Example, message: str) -> None:
    with pytest.raises(UserError, match=message):
        SOURCE.draw(world(SOURCE, [example, example]), {})


@pytest.mark.parametrize("label", [True, False, 0.5])
def test_one_label_everywhere_is_nothing_to_learn_from(world: Open, label: Any) -> None:
    with pytest.raises(UserError, match=rf"every step of rows has the label {float(label)}"):
        SOURCE.draw(world(SOURCE, [row(["a", "b"], [label, label]), row(["c"], [label])]), {})


def test_rows_that_are_too_long_are_counted_and_epochs_go_on(world: Open) -> None:
    here = world(SOURCE, [BOTH, row(["long" * 50], [1], "row:1")], prompts_per_step=3)
    draw = SOURCE.draw(here, {})
    assert [group.prompt.example.id for group in draw.groups] == ["row:0"] * 3
    assert draw.metrics["prompts_too_long"] >= 2
    assert SOURCE.draw(here, draw.position).groups == draw.groups


@pytest.mark.skipif(not DATA.exists(), reason="the real step labels are not here")
def test_real_step_labels(world_once: DrawContext) -> None:
    """Labels are true before the first mistake and false from it on; every label sits where its step ends."""
    task = from_file(DATA / "multistep_arithmetic.jsonl")
    here = replace(world_once, prompts_per_step=30, task=task)
    draw = SOURCE.draw(here, {})
    assert draw.metrics["steps/rewritten"] == draw.metrics["steps/merged"] == 0
    assert 0 < draw.metrics["steps/right_share"] < 1
    for group in draw.groups:
        (rollout,), columns = group.rollouts, group.prompt.example.columns
        mistake = columns["mistake_index"]
        right = len(columns["steps"]) if mistake is None else mistake
        assert list(rollout.rewards.values()) == [float(place < right) for place in range(len(columns["steps"]))]
        for end, step in zip(rollout.steps, columns["steps"], strict=True):
            assert here.renderer.decode(rollout.tokens[: end + 1]).endswith(step.rstrip())
