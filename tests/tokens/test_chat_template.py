"""A chat template's arguments, its clock, and one line for whatever goes wrong in it."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from groupwise import recipes
from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.runs.recipe import Run
from groupwise.runs.session import run
from groupwise.tasks import Task
from groupwise.tasks.task_renderer import first_day, read_template_record
from groupwise.tokens.chat_template import CLOCK
from groupwise.tokens.renderer import Renderer
from groupwise.training.stage import HeldOut, Stage
from groupwise.types import Example

from .test_renderer import TEMPLATE, make_tokenizer

THINKS = TEMPLATE + "{% if add_generation_prompt and enable_thinking is false %}<off>{% endif %}"
TOOLS = "{% if tools %}<{{ tools | length }} tools>{% endif %}" + TEMPLATE
DATED = "Today {{ strftime_now('%d %b %Y') }}." + TEMPLATE
QUESTION = Example("row", "2+2=")


def text(renderer: Renderer, example: Example = QUESTION) -> str:
    return renderer.tokenizer.decode(list(renderer.prompt(example).tokens), skip_special_tokens=False)


def with_column(name: str, value: Any) -> Example:
    return replace(QUESTION, columns={name: value})


def test_arguments_of_the_task_reach_the_template() -> None:
    assert text(Renderer(make_tokenizer(THINKS), template_arguments={"enable_thinking": False})).endswith("<off>")
    assert not text(Renderer(make_tokenizer(THINKS), template_arguments={"enable_thinking": True})).endswith("<off>")
    assert not text(Renderer(make_tokenizer(THINKS))).endswith("<off>")


def test_a_row_s_own_arguments_go_first() -> None:
    row = with_column("chat_template_kwargs", {"enable_thinking": False})
    assert text(Renderer(make_tokenizer(THINKS)), row).endswith("<off>")
    assert text(Renderer(make_tokenizer(THINKS), template_arguments={"enable_thinking": True}), row).endswith("<off>")
    assert text(Renderer(make_tokenizer()), row) == text(Renderer(make_tokenizer()))
    assert Renderer(make_tokenizer()).unread_arguments(row) == ["enable_thinking"]


def test_answers_are_shown_with_the_same_arguments() -> None:
    shown = "{% if enable_thinking is false %}<off>{% endif %}"
    renderer = Renderer(make_tokenizer(shown + TEMPLATE), template_arguments={"enable_thinking": False})
    rollout = renderer.demonstration(replace(QUESTION, completion="4"))
    assert text(renderer).startswith("<off>")
    assert rollout.text == "4"


def test_tools_reach_the_template() -> None:
    row = with_column("tools", [{"type": "function", "function": {"name": "add"}}])
    assert text(Renderer(make_tokenizer(TOOLS)), row).startswith("<1 tools>")
    with pytest.raises(UserError, match=r"template of m does not read tools; leave it out \(ignore_columns"):
        Renderer(make_tokenizer(), name="m").prompt(row)
    with pytest.raises(UserError, match="row: the column tools needs a conversation"):
        Renderer(make_tokenizer(None)).prompt(row)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"enable_thinkng": False}, "does not read enable_thinkng, perhaps you meant enable_thinking"),
        ({"reasoning_effort": "low"}, "does not read reasoning_effort; leave it out"),
        ({"messages": []}, "template_arguments: messages is set here; leave it out"),
        ({"add_generation_prompt": False}, "add_generation_prompt is set here"),
    ],
)
def test_arguments_that_change_nothing_are_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        Renderer(make_tokenizer(THINKS), template_arguments=arguments).prompt(QUESTION)


def test_a_column_that_holds_no_arguments() -> None:
    with pytest.raises(UserError, match="row: chat_template_kwargs is str; expected an object of arguments"):
        Renderer(make_tokenizer(THINKS)).prompt(with_column("chat_template_kwargs", "enable_thinking"))
    with pytest.raises(UserError, match="row: chat_template_kwargs sets tokenize, which is set here"):
        Renderer(make_tokenizer(THINKS)).prompt(with_column("chat_template_kwargs", {"tokenize": True}))
    with pytest.raises(UserError, match="row: an argument of the chat template needs a conversation"):
        Renderer(make_tokenizer(None), template_arguments={"enable_thinking": False}).prompt(QUESTION)


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{% for t in tools %}{{ t }}{% endfor %}", "TypeError: "),
        ("{{ messages[0].content + 1 }}", "TypeError: "),
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ messages[0]['content'].nothing.more }}", "has no attribute 'nothing'"),
        ("{% for m in messages %}", "TemplateSyntaxError: "),
        ("{{ raise_exception('No\nsystem') }}", r"\(No system\)"),
        ("{{ messages[7].content }}", "has no element 7"),
        ("{{ [1].index(2) }}", "ValueError: "),
    ],
)
def test_whatever_a_template_raises_is_one_line(template: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        Renderer(make_tokenizer(template), name="m").prompt(QUESTION)
    assert str(caught.value).startswith("row: the chat template of m refuses the conversation")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asks", "said"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ('{{ strftime_now("%Y-%m-%d") }}', "2024-07-26"),
        ("{{ strftime_now('%A, %B %d, %Y at %H:%M') }}", "Friday, July 26, 2024 at 00:00"),
        ("{% set f = '%d.%m.%y' %}{{ strftime_now(f) }}", "26.07.24"),
        ("{% macro head() %}{{ strftime_now('%j') }}{% endmacro %}{{ head() }}", "208"),
        ("{%- if strftime_now is defined %}{% set d = strftime_now('%d') %}{% endif %}{{ d }}", "26"),
        ("\n{{ strftime_now('%d') }}", "\n26"),
    ],
)
def test_the_clock_stands_still(asks: str, said: str) -> None:
    renderer = Renderer(make_tokenizer(asks + "|" + TEMPLATE), today=date(2024, 7, 26))
    assert text(renderer).partition("|")[0] == said


def test_the_date_is_told_and_not_the_clock_s() -> None:
    assert text(Renderer(make_tokenizer(DATED), today=date(2024, 7, 26))).startswith("Today 26 Jul 2024.")
    assert Renderer(make_tokenizer(DATED)).tells_date
    assert not Renderer(make_tokenizer()).tells_date
    assert first_day({"started": 0.0, "chat_template": {"today": "2024-07-26"}}) == date(2024, 7, 26)
    assert first_day({"started": 86_400.0 * 365 + 43_200}).year == 1971
    assert CLOCK == "strftime_now"


def dated_run(model: Path, place: Path, steps: int) -> Run:
    rows = [Example(f"row:{n}", f"{n}+1=", str(n + 1), str(n + 1)) for n in range(4)]
    task = Task("sums", rows, template_arguments={"enable_thinking": False})
    stage = Stage("sft", recipes.sft, task, steps, prompts_per_step=2, checkpoint_every=1)
    return Run("dated", str(model), (stage,), Local(device="cpu", threads=1), evaluation=HeldOut(problems=0))


def test_a_run_keeps_its_date_and_its_models_remember_it(tiny_model: Path, tmp_path: Path) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    template = (model / "chat_template.jinja").read_text()
    asks = "{% if enable_thinking is false %}{{ strftime_now('%Y-%m-%d') }}{% endif %}"
    (model / "chat_template.jinja").write_text(asks + template)
    left = run(dated_run(model, tmp_path, 2), tmp_path / "run", sinks=[]).model
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["chat_template"] == {"today": date.fromtimestamp(record["started"]).isoformat()}
    arguments, today = read_template_record(str(left))
    assert arguments == {"enable_thinking": False}
    assert today == date.fromtimestamp(record["started"])
    assert read_template_record(str(tiny_model)) == ({}, None)

    from groupwise.commands.models import open_model

    path = left / "groupwise_run.json"
    path.write_text(path.read_text().replace(record["chat_template"]["today"], "2020-02-02"))
    _, renderer = open_model(str(left), "cpu")
    assert text(renderer).startswith("2020-02-02")
    _, other = open_model(str(left), "cpu", template_arguments={"enable_thinking": True})
    assert not text(other).startswith("2020")


@pytest.mark.parametrize(
    "greedy",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set n = namespace(s='x') %}{% for a in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
        "{% macro f(s) %}{{ f(s ~ s) }}{% endmacro %}{{ f('xxxxxxxx') }}",
        "{{ 'x' * 60000000 }}",
        "{% for a in range(30000) %}{{ 'x' * 3000 }}{% endfor %}",
        "{% for a in range(99999) recursive %}{{ loop(range(99999)) }}{% endfor %}",
    ],
)
def test_a_template_that_never_ends_is_one_line(greedy: str) -> None:
    before = sys.gettrace()
    with pytest.raises(UserError, match="the chat template of") as caught:
        text(Renderer(make_tokenizer(greedy + TEMPLATE)))
    assert "\n" not in str(caught.value)
    assert "MemoryError" not in str(caught.value)
    assert sys.gettrace() is before


def test_a_long_conversation_is_no_such_template() -> None:
    turns = tuple({"role": role, "content": "2+2=" * 20} for role in ("user", "assistant") * 1000)
    row = replace(QUESTION, prompt=(*turns, {"role": "user", "content": "2+2="}))
    assert len(text(Renderer(make_tokenizer()), row)) > 100_000
