"""Agent programs: what they sample over HTTP is what is trained, and however they end, a run goes on."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from groupwise import recipes
from groupwise.errors import UserError
from groupwise.sources import AgentPrograms, DrawContext
from groupwise.sources.agent_process import score_of
from groupwise.sources.served import rollout_of
from groupwise.tasks.task import Task
from groupwise.types import Example, Score, flatten

Open = Callable[..., DrawContext]
ASKS = """
import http.client, json, os, sys, time
from urllib.parse import urlsplit

row, base = json.load(sys.stdin), urlsplit(os.environ["OPENAI_BASE_URL"])
number, talk, tries = int(row["prompt"].split()[0]), [{"role": "user", "content": row["prompt"]}], 0

def post(what, body):
    line = http.client.HTTPConnection(base.netloc, timeout=120)
    head = {"Authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "Content-Type": "application/json"}
    line.request("POST", base.path + what, json.dumps(body), head)
    answer = line.getresponse()
    found = json.loads(answer.read())
    assert answer.status == 200, found
    return found

def ask(**more):
    asked = {"model": "gpt-9", "messages": talk, "temperature": 0.1, "seed": 3, **more}
    talk.append(post("/chat/completions", asked)["choices"][0]["message"])
    return talk[-1]["content"]
"""
"""What every program here begins with."""


@pytest.fixture
def program(tmp_path: Path) -> Callable[..., AgentPrograms]:
    """``program(its lines behind ASKS, **options)``"""

    def make(lines: str, **options: Any) -> AgentPrograms:
        path = tmp_path / "agent.py"
        path.write_text(ASKS + lines)
        given = {"group_size": 2, "max_completion_tokens": 40, "side_by_side": 2} | options
        return AgentPrograms((sys.executable, "-S", str(path)), **given)

    return make


def begun(world: Open, source: AgentPrograms, **options: Any) -> DrawContext:
    return world(source, rewards=(), **{"prompts_per_step": 2, "most_unscored": 1.0} | options)


TWICE = """
first = ask(max_tokens=9)
talk.append({"role": "user", "content": "go on"})
second = ask(max_tokens=9)
print("done"); print(json.dumps({"reward": number / 4, "success": number % 2 == 0}))
"""


def test_what_a_program_samples_is_what_is_trained(world: Open, program: Any, open_learner: Any) -> None:
    """Calls that go on are one sequence, at the temperature that is trained, and another one for each member."""
    context = begun(world, program(TWICE))
    groups = program(TWICE).draw(context, {}).groups
    rollouts = flatten(groups)
    assert [len(group.rollouts) for group in groups] == [2, 2]
    assert len({rollout.tokens for rollout in rollouts}) == 4
    learned = open_learner().logprobs(rollouts, 1.0)
    for row, each in enumerate(rollouts):
        number = int(str(each.prompt.example.prompt).split()[0])
        assert (each.reward, each.correct, each.stop) == (number / 4, number % 2 == 0, "finished")
        assert (len(each.turns), each.restarts) == (2, ())
        assert [message["role"] for message in each.messages] == ["assistant", "user", "assistant"]
        assert each.prompt.tokens == context.renderer.prompt(each.prompt.example).tokens
        for place, (own, logprob) in enumerate(zip(each.mask, each.behavior_logprobs, strict=True)):
            assert abs(float(learned[row, place]) - logprob) < 1e-5
            assert own or logprob == 0.0
    again = program(TWICE, side_by_side=1).draw(begun(world, program(TWICE)), {}).groups
    assert [each.tokens for each in flatten(again)] == [each.tokens for each in rollouts]


def test_a_program_that_rewrites_its_history_goes_on_in_another_sequence(
    world: Open, program: Any, open_learner: Any
) -> None:
    source = program("ask(max_tokens=5)\ntalk[:] = [{'role': 'user', 'content': 'anew'}]\nask(max_tokens=5)\nprint(1)")
    context = begun(world, source)
    rollouts = flatten(source.draw(context, {}).groups)
    learned = open_learner().logprobs(rollouts, 1.0)
    anew = context.renderer.prompt(Example("", "anew")).tokens
    for row, each in enumerate(rollouts):
        assert [prompt for prompt, _ in each.sequences] == [each.prompt.tokens, anew]
        assert (
            max(abs(float(learned[row, place]) - each.behavior_logprobs[place]) for place in range(len(each.mask)))
            < 1e-5
        )


@pytest.mark.parametrize(
    ("lines", "stop", "reward", "reason"),
    [
        ("ask(); sys.exit('no luck')", "failed", None, "ended with 1: no luck"),
        ("ask(max_tokens=4)", "failed", None, "gave no reward"),
        ("ask(max_tokens=4); print('fine')", "failed", None, "last line is 'fine'; expected a number"),
        ("ask(max_tokens=4); post('/reward', {'reward': 0.25})", "finished", 0.25, ""),
        ("ask(max_tokens=4); post('/reward', {'reward': 0.25}); os.abort()", "finished", 0.25, ""),
        ("ask(max_tokens=30); ask(max_tokens=30); ask(max_tokens=30); print(1)", "truncated", 0.0, ""),
        ("ask(max_tokens=4); print('x' * 300000); print(2)", "finished", 2.0, ""),
    ],
)
def test_how_a_program_ends(
    world: Open, program: Any, lines: str, stop: str, reward: float | None, reason: str
) -> None:
    source = program(lines.replace("ask(max_tokens=30)", "ask(max_tokens=30); talk.append(dict(talk[0]))"))
    [group] = source.draw(begun(world, source, prompts_per_step=1), {}).groups
    for each in group.rollouts:
        assert (each.stop, each.reward) == (stop, reward)
        assert reason in each.scores["agent"].reason
        assert sum(each.mask) <= 40


def test_programs_that_ask_nothing_are_no_rollouts(world: Open, program: Any) -> None:
    context = begun(world, program(""))
    with pytest.raises(UserError, match=r"stage: none of 4 runs of .* asked the policy anything; the first: .* with 7"):
        program("sys.exit(7)").draw(context, {})
    notes: list[str] = []
    draw = program("number % 2 and sys.exit(7); ask(max_tokens=3); print(1)").draw(
        replace(context, prompts_per_step=10, on_note=notes.append), {}
    )
    assert [len(group.rollouts) for group in draw.groups] == [2] * 5
    assert draw.metrics["agents/silent"] == 10.0
    assert len(notes) == 1


def test_a_program_that_hangs_is_ended_with_all_that_it_began(world: Open, program: Any) -> None:
    source = program("os.fork(); time.sleep(3600)", seconds=0.3, group_size=1)
    with pytest.raises(UserError, match=r"did not end within 0.3 s"):
        source.draw(begun(world, source, prompts_per_step=1), {})


def test_a_program_that_is_not_there(world: Open) -> None:
    source = AgentPrograms(("no-such-program",))
    with pytest.raises(UserError, match="stage: no-such-program cannot be run: No such file"):
        source.draw(begun(world, source), {})
    with pytest.raises(UserError, match=r"command is \(\); expected a program"):
        AgentPrograms(())


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("1\n", Score(1.0)),
        ("words\n 0.5 \n\n", Score(0.5)),
        ('{"reward": -2, "success": true}', Score(-2.0, right=True)),
        ("", Score(None, "not_applicable")),
    ],
)
def test_the_last_line_is_the_reward(text: str, score: Score) -> None:
    assert score_of(text) == score


NONE = ("true", "nan", "1e999", "1" * 400, "1" * 9999, "[1]", '{"reward": "1"}', "{}", "[" * 99999, "\ud800")


@pytest.mark.parametrize("text", NONE, ids=range(len(NONE)))
def test_last_lines_that_are_none(text: str) -> None:
    assert score_of(text).status == "failed"


def test_what_cannot_go_with_it_is_said(program: Any) -> None:
    task = Task("game", [{"prompt": "a"}], environment=lambda row, random: iter(()))
    [alone] = program("", group_size=1).complaints(recipes.grpo)
    assert "group_size is 1 with an advantage that compares" in alone
    [game] = program("").task_complaints(recipes.grpo, task)
    assert game.startswith("task game has an environment, and a program does not talk with it")


def test_lines_of_an_episode_become_one_rollout(world: Open, program: Any) -> None:
    renderer = begun(world, program("")).renderer
    line = {"prompt_tokens": [1, 2], "tokens": [7, 8, 9], "mask": [1, 0, 1], "logprobs": [-1.0, 0.0, -2.0]}
    line |= {"turns": [0, 2], "finished": True, "temperature": 1.0, "version": 3, "messages": []}
    other = line | {"prompt_tokens": [5], "tokens": [6], "mask": [1], "logprobs": [-3.0], "turns": [0], "version": 2}
    found = rollout_of([line, other], Example("row", "q"), Score(0.5), "finished", renderer)
    assert found.prompt.tokens == (1, 2)
    assert found.tokens == (7, 8, 9, 5, 6)
    assert found.mask == (True, False, True, False, True)
    assert found.behavior_logprobs == (-1.0, 0.0, -2.0, 0.0, -3.0)
    assert (found.turns, found.restarts, found.rewards) == ((0, 2, 4), (3,), {4: 0.5})
    assert (found.version, found.correct, found.sequences) == (2, False, (((1, 2), (7, 8, 9)), ((5,), (6,))))
