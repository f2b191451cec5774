"""A check tells apart what a template adds to answers, which is to know, and what it drops, which would break."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import HeldOut, Local, Run, Stage, recipes
from groupwise.preflight import Finding, check_run
from groupwise.runs.session import run
from groupwise.tasks.task import Task
from groupwise.types import Example

ROWS = [Example(f"row:{n}", f"{n} + 1 =", completion=f"<b>{n}</b>{n + 1}", answer=str(n + 1)) for n in range(6)]
ASSISTANT = "{% if message.role == 'assistant' %}"


def model_with(tiny_model: Path, directory: Path, before: str = "", change: str = "") -> Path:
    """The tiny model with a template that writes something before an answer, or changes it."""
    shutil.copytree(tiny_model, directory)
    (directory / "chat_template.jinja").write_text(
        "{% for message in messages %}<|{{ message.role }}|>"
        f"{ASSISTANT}{before}{{{{ message.content{change} }}}}<|end|>{{% else %}}{{{{ message.content }}}}{{% endif %}}"
        "{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    return directory


def recipe(model: Path, **task: Any) -> Run:
    stage = Stage("sft", recipes.sft, Task("rows", ROWS, **task), 1, prompts_per_step=2)
    return Run("checked", str(model), (stage,), Local(device="cpu", threads=1), evaluation=HeldOut(problems=0))


def words(found: list[Finding], kind: str) -> str:
    return "\n".join(each.words for each in found if each.kind == kind)


def test_what_is_added_is_to_know(tiny_model: Path, tmp_path: Path) -> None:
    added = recipe(model_with(tiny_model, tmp_path / "m", before="<i></i>"))
    found = check_run(added, limit_seconds=1.0)
    assert words(found, "problem") == ""
    assert words(found, "remark").count("the chat template writes '<i></i>' beside 6 of 6 answers looked at") == 1


def test_what_is_dropped_would_break_here_and_there(tiny_model: Path, tmp_path: Path) -> None:
    dropping = recipe(model_with(tiny_model, tmp_path / "m", change=".split('</b>')[-1]"))
    found = check_run(dropping, limit_seconds=1.0)
    assert "6 of 6 rows looked at cannot be used" in words(found, "problem")
    assert "drops or changes a part of the answer: of '<b>4</b>5' it writes '5'" in words(found, "problem")
    with pytest.raises(Exception, match=r"row:0: the chat template of .* drops or changes a part of the answer"):
        run(dropping, tmp_path / "run", sinks=[])
    appended = replace(dropping, stages=(replace(dropping.stages[0], task=Task("r", ROWS, demonstrations="appended")),))
    assert words(check_run(appended, limit_seconds=1.0), "problem") == ""
    assert run(appended, tmp_path / "run", sinks=[]).model.exists()


def test_an_argument_that_no_template_reads_is_said_once_and_of_the_template(tiny_model: Path) -> None:
    found = check_run(recipe(tiny_model, template_arguments={"enable_thinkin": False}), limit_seconds=1.0)
    problems = [(each.part, each.words) for each in found if each.kind == "problem"]
    assert [part for part, _ in problems] == ["template"]
    assert "does not read enable_thinkin; leave it out or take another template" in problems[0][1]
