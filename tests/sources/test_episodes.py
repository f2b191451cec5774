"""Episodes: what was sampled is what is trained, whoever answers first and whatever engine samples."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest

from groupwise import FrozenPolicy, Native, OnPolicy, Stage, recipes
from groupwise.engines.torch_engine import TorchEngine
from groupwise.engines.transformers_engine import TransformersEngine
from groupwise.environments import Reply, Says, Turns
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.networks import blueprint_of
from groupwise.protocols import RolloutEngine, Stream
from groupwise.rewards import as_reward
from groupwise.sources import DrawContext
from groupwise.tasks.task import Task
from groupwise.tasks.task_renderer import renderer_of
from groupwise.training.stage import draw_context
from groupwise.types import CompletionEvent, Event, Group, Request, Sampling, flatten

ENDINGS = tuple(range(60, 130))
"""Further ids that end a turn, so that a random model does so every few tokens."""
BACKENDS: dict[str, Callable[[LocalLearner], RolloutEngine]] = {
    "compiled": lambda learner: Native().open(learner.directory, learner.live_module(), learner.tokenizer),
    "torch": lambda learner: TorchEngine(learner.model, blueprint_of(learner.model), 64),  # type: ignore[arg-type]
    "transformers": lambda learner: TransformersEngine(learner.model, 64),
}
Row = Mapping[str, Any]
Open = Callable[..., LocalLearner]
WORDS = ("more", "less", "<|end|>", "é", "", "a longer thing to say", "<|assistant|>x")


def talks(row: Row, random: Random) -> Generator[Any, Reply, Any]:
    """Says anything for a while, and sometimes gives something for a turn."""
    said = yield f"row {row['n']}"
    for _ in range(random.randint(0, 5)):
        time.sleep(row.get("delay", 0.0) * Random(time.time_ns()).random())
        if len(said) % 5 == 0 and said:
            return {"reward": 0.5, "success": True, "said": len(said)}
        words = random.choice(WORDS)
        said = yield random.choice([words, Says(words, reward=0.25), [Says(words), Says("and", role="system")], None])
    return float(len(said) % 3)


@dataclass
class Recorded:
    """An engine whose streams keep what they drew, by the request that asked for it."""

    engine: RolloutEngine
    drawn: dict[tuple[int, ...], list[CompletionEvent]] = field(default_factory=dict)

    @property
    def context_tokens(self) -> int:
        return self.engine.context_tokens

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        return RecordedStream(self.engine.stream(sampling, every_token), self.drawn)


class RecordedStream(Stream):
    def __init__(self, stream: Stream, drawn: dict[tuple[int, ...], list[CompletionEvent]]) -> None:
        self.stream, self.drawn = stream, drawn
        self.requests: dict[int, Request] = {}

    def submit(self, request: Request) -> int:
        number = self.stream.submit(request)
        self.requests[number] = request
        return number

    def events(self) -> Iterator[Event]:
        for event in self.stream.events():
            if isinstance(event, CompletionEvent):
                request = self.requests[event.request]
                self.drawn.setdefault((request.seeds[event.index],), []).append(event)
            yield event

    def cancel(self, number: int) -> None:
        self.stream.cancel(number)

    def close(self) -> None:
        self.stream.close()


@pytest.fixture
def opened(tiny_model: Path, open_learner: Open) -> Iterator[Callable[..., tuple[DrawContext, LocalLearner]]]:
    """``opened(environment, source=, rows=, turns=, backend=, rewards=)``"""
    tasks: list[Task] = []

    def make(
        environment: Any,
        source: Any = None,
        rows: int = 4,
        turns: Any = 8,
        backend: str = "compiled",
        rewards: tuple[Any, ...] = (),
        delay: float = 0.0,
        **options: Any,
    ) -> tuple[DrawContext, LocalLearner]:
        learner = open_learner(**{"threads": 1})
        given = [{"n": n} | ({"delay": delay} if delay else {}) for n in range(rows)]
        task = Task("talks", given, environment=environment, turns=turns, rewards=rewards)
        tasks.append(task)
        source = source or OnPolicy(group_size=3, max_completion_tokens=40)
        stage = Stage("stage", replace(recipes.grpo, source=source), task, steps=3, prompts_per_step=rows, **options)
        stops = (*learner.stop_tokens, *ENDINGS)
        renderer = renderer_of(task, learner.tokenizer, "tiny", stops)
        return draw_context(stage, renderer, BACKENDS[backend](learner), seed=7), learner

    yield make
    for task in tasks:
        assert task.episodes is not None
        task.episodes.worlds.close()


def drawn(context: DrawContext, learner: LocalLearner) -> list[Group]:
    return OnPolicy(group_size=3, max_completion_tokens=40).draw(context, {}).groups


def plain(groups: Sequence[Group]) -> list[Any]:
    return [
        (each.tokens, each.mask, each.behavior_logprobs, each.stop, each.turns, each.rewards, each.messages)
        for each in flatten(groups)
    ]


def pairs(event: CompletionEvent) -> list[tuple[int, float]]:
    return list(zip(event.completion.tokens, event.completion.logprobs, strict=True))


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_drawn_is_what_is_trained(opened: Callable[..., Any], backend: str) -> None:
    """Id for id and in order, with its log-probability, which the learner agrees with; and nothing else is."""
    context, learner = opened(talks, rows=12, backend=backend)
    recorded = Recorded(context.engine)
    source = OnPolicy(group_size=4, max_completion_tokens=40)
    groups = source.draw(replace(context, engine=recorded, serve=lambda: None), {}).groups
    rollouts = flatten(groups)
    by_tokens = sorted(tuple(itertools.chain.from_iterable(map(pairs, events))) for events in recorded.drawn.values())
    trained = sorted(
        tuple(
            (token, logprob)
            for token, own, logprob in zip(each.tokens, each.mask, each.behavior_logprobs, strict=True)
            if own
        )
        for each in rollouts
    )
    assert trained == by_tokens
    assert max(len(each.turns) for each in rollouts) >= 3
    learned = learner.logprobs(rollouts, 1.0)
    for row, each in enumerate(rollouts):
        for place, (own, logprob) in enumerate(zip(each.mask, each.behavior_logprobs, strict=True)):
            assert abs(float(learned[row, place]) - logprob) < 1e-5
            assert own or logprob == 0.0 == float(learned[row, place])
        assert all(each.mask[end] for end in each.turns)
        assert each.turns[-1] == each.last
        ends = {place for place, own in enumerate(each.mask) if own and not (each.mask[place + 1 :] or (False,))[0]}
        assert set(each.turns) == ends


def test_engines_and_delays_change_nothing(opened: Callable[..., Any]) -> None:
    """The same bits with environments that sleep at random, in one process or three."""
    found = plain(drawn(*opened(talks, turns=3)))
    assert plain(drawn(*opened(talks, turns=3, delay=0.05))) == found
    assert plain(drawn(*opened(talks, turns=Turns(most=3, processes=3)))) == found
    assert len({stop for _, _, _, stop, _, _, _ in found}) > 1


def test_members_of_a_group_face_the_same_world(opened: Callable[..., Any]) -> None:
    def secret(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        number = random.random()
        yield "guess"
        return {"reward": 0.0, "number": number}

    groups = drawn(*opened(secret))
    logged = [
        [each.scores["secret"].logged["number"] for each in group.rollouts if each.scores["secret"].logged]
        for group in groups
    ]
    assert all(len(set(numbers)) <= 1 for numbers in logged)
    assert len({numbers[0] for numbers in logged if numbers}) > 1
    assert len({group.prompt.world for group in groups}) == len(groups)


def scripted(turns: Sequence[Any], returned: Any = 1.0) -> Any:
    def environment(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        for said in turns:
            _reply = yield said
        return returned

    return environment


def test_budgets_end_an_episode_by_name(opened: Callable[..., Any]) -> None:
    talk = scripted(["hello"] * 30)
    for turns, stop in ((Turns(30, turn_tokens=2), "truncated"), (Turns(2), "turns"), (Turns(30), "truncated")):
        cut = [each for each in flatten(drawn(*opened(talk, turns=turns))) if each.stop == stop]
        assert cut, turns
        assert not any(each.finished for each in cut)
        assert {each.reward for each in cut} == {0.0}
        if turns.most == 2:
            assert {len(each.turns) for each in cut} == {2}
        elif not turns.turn_tokens:
            assert {sum(each.mask) for each in cut} == {40}
    rollouts = flatten(drawn(*opened(talk, turns=Turns(30, context_tokens=40))))
    assert "context" in {each.stop for each in rollouts}
    assert all(len(each.prompt.tokens) + len(each.tokens) <= 40 for each in rollouts)


def test_what_an_environment_says_is_shortened_by_tokens(opened: Callable[..., Any]) -> None:
    """Its first words too; no message has more than was asked for, what says so aside."""
    talk = scripted(["o" * 30, "hello and good bye", "short"])
    context, learner = opened(talk, turns=Turns(observation_tokens=6), rows=2)
    rollouts = flatten(drawn(context, learner))
    for each in rollouts:
        assert each.prompt.messages[-1]["content"] == "ooo\n[... 24 tokens left out ...]\nooo"
        said = [message["content"] for message in each.messages if message["role"] == "user"]
        assert said == ["hel\n[... 12 tokens left out ...]\nbye", "short"][: len(said)]
    assert "finished" in {each.stop for each in rollouts}


def test_calls_of_tools_are_counted_in_one_place(opened: Callable[..., Any]) -> None:
    talk = scripted(["a"], {"reward": 1.0, "tools/failed": 2, "tools/calls/sum": 3, "colour": 4})
    context, _ = opened(talk, rows=2)
    metrics = OnPolicy(group_size=3, max_completion_tokens=40).draw(context, {}).metrics
    assert metrics["rewards/environment/colour"] == 4.0
    assert 0 < metrics["tools/failed"] <= 2.0
    assert 0 < metrics["tools/calls/sum"] <= 3.0
    assert not [name for name in metrics if name.startswith("rewards/") and "tools/" in name]


def test_a_turns_reward_sits_on_its_last_token_and_the_sum_is_the_rollouts(opened: Callable[..., Any]) -> None:
    context, learner = opened(scripted(["a", Says("b", reward=0.25), Says("c", reward=-0.5)], {"score": 2.0}), rows=6)
    finished = [each for each in flatten(drawn(context, learner)) if each.stop == "finished"]
    assert finished
    for each in finished:
        first, second, third = each.turns
        assert each.rewards == {first: 0.25, second: -0.5, third: 2.0}
        assert each.reward == 1.75
        assert each.scores["environment"].value == 1.75


def test_who_never_answers_has_no_value(opened: Callable[..., Any]) -> None:
    def hangs(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        said = yield "hello"
        if len(said) % 2:
            time.sleep(3600)
        return 1.0

    notes: list[str] = []
    context, learner = opened(hangs, turns=Turns(reply_seconds=0.2), rows=3, most_unscored=1.0)
    groups = drawn(replace(context, on_note=notes.append), learner)
    stops = [each.stop for each in flatten(groups)]
    assert "timeout" in stops
    for each in flatten(groups):
        assert (each.reward is None) == (each.stop == "timeout")
        assert each.scores["hangs"].status == ("timeout" if each.stop == "timeout" else "scored")
    assert any("no reply within 0.2 s, it stood in hangs at" in note for note in notes)


def test_one_that_begins_otherwise_than_its_group_has_no_value(opened: Callable[..., Any]) -> None:
    def moody(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        yield f"it is {time.time_ns()}"
        return 1.0

    notes: list[str] = []
    context, learner = opened(moody, rows=2, most_unscored=1.0)
    groups = drawn(replace(context, on_note=notes.append), learner)
    assert {each.reward for each in flatten(groups)} == {None}
    assert "not deterministic: it began with 'it is" in notes[0]


def test_an_environment_that_does_not_begin_is_told_and_passed_over(opened: Callable[..., Any]) -> None:
    def picky(row: Row, random: Random) -> Generator[Any, Reply, Any]:
        if row["n"] % 2:
            raise ValueError("an odd row")
        yield "hello"
        return 1.0

    notes: list[str] = []
    context, learner = opened(picky, rows=4)
    groups = drawn(replace(context, on_note=notes.append), learner)
    assert {group.prompt.example.columns["n"] % 2 for group in groups} == {0}
    assert len(groups) == 4  # further rows of the next epoch took the places
    [note] = notes
    assert "the environment picky did not begin: raised ValueError: an odd row at" in note


def test_other_rewards_are_added_and_read_the_conversation(opened: Callable[..., Any]) -> None:
    def shortness(completion: str) -> float:
        return -float(len(completion))

    context, learner = opened(scripted(["a", "b"]), rewards=(as_reward(shortness, isolated=False),))
    for each in flatten(drawn(context, learner)):
        own = each.scores["environment"].value
        expected = -float(len(each.text)) + (own or 0.0)
        assert each.reward == pytest.approx(expected)
        roles = [message["role"] for message in each.messages]
        assert roles == ["assistant", "user", "assistant"][: len(roles)]


def test_frozen_policies_play_and_their_files_hold_episodes(opened: Callable[..., Any], tmp_path: Path) -> None:
    source = FrozenPolicy(samples_per_prompt=4, max_completion_tokens=40, sampling_temperature=1.0)
    context, _ = opened(scripted(["a", "b"]), source=source, rows=6)
    context = replace(context, store=tmp_path)
    first = source.draw(context, {})
    again = source.draw(replace(context), {})
    assert plain(again.groups) == plain(first.groups)
    assert all(each.stop == "finished" for each in flatten(first.groups))


def test_what_is_no_environment_is_refused() -> None:
    with pytest.raises(UserError, match=r"an environment is int '3'; expected a generator function"):
        Task("rows", [{"n": 1}], environment=3)


FORGETS = (
    "{% for m in messages %}<|{{ m['role'] }}|>"
    "{{ m['content'][:1] if m['role'] == 'assistant' and not loop.last else m['content'] }}"
    "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Of earlier turns it writes the first letter alone."""


@pytest.mark.parametrize("backend", ["compiled", "torch"])
def test_a_conversation_that_is_written_anew_begins_a_sequence_of_the_same_episode(
    opened: Callable[..., Any], backend: str
) -> None:
    """What was drawn is what is trained, behind what the template writes now."""
    context, learner = opened(talks, rows=6, turns=Turns(8, rewritten="branch"), backend=backend)
    learner.tokenizer.chat_template = FORGETS
    recorded = Recorded(context.engine)
    there = replace(context, engine=recorded, serve=lambda: None)
    groups = OnPolicy(group_size=3, max_completion_tokens=40).draw(there, {}).groups
    rollouts = flatten(groups)
    assert [len(group.rollouts) for group in groups] == [3] * 6
    assert any(each.restarts for each in rollouts)
    assert not all(each.restarts for each in rollouts if len(each.turns) > 1)  # a turn of one letter is not rewritten
    events = [list(itertools.chain.from_iterable(map(pairs, found))) for found in recorded.drawn.values()]
    trained = [
        list(itertools.compress(zip(each.tokens, each.behavior_logprobs, strict=True), each.mask)) for each in rollouts
    ]
    assert sorted(itertools.chain.from_iterable(trained)) == sorted(itertools.chain.from_iterable(events))
    learned = learner.logprobs(rollouts, 1.0)
    for row, each in enumerate(rollouts):
        for place, (own, logprob) in enumerate(zip(each.mask, each.behavior_logprobs, strict=True)):
            assert abs(float(learned[row, place]) - logprob) < 1e-5
            assert own or logprob == 0.0
        said = [*each.prompt.messages, *each.messages]
        for prompt, _ in each.sequences[1:]:
            text = learner.tokenizer.decode(list(prompt), skip_special_tokens=False)
            fill = partial(learner.tokenizer.apply_chat_template, tokenize=False, add_generation_prompt=True)
            beginnings = [size for size in range(1, len(said) + 1) if fill(said[:size]) == text]
            assert any(said[size - 1]["role"] != "assistant" for size in beginnings)
    if backend == "compiled":
        again = OnPolicy(group_size=3, max_completion_tokens=40).draw(context, {}).groups
        assert plain(groups) == plain(again)


def test_without_the_option_such_a_template_is_refused(opened: Callable[..., Any]) -> None:
    context, learner = opened(talks, rows=6)
    learner.tokenizer.chat_template = FORGETS.replace("m['content'][:1]", "'an earlier answer'")
    with pytest.raises(UserError, match=r"writes message \d+ \(assistant\) otherwise .*branch"):
        drawn(context, learner)


def test_what_a_template_refuses_of_an_environment_costs_its_episode(opened: Callable[..., Any]) -> None:
    """At its beginning, where nothing begins, and behind a turn."""
    context, learner = opened(scripted([Says("a", role="system")]), rows=2)
    with pytest.raises(UserError, match=r"no environment of talks began, of 2 .* all of them: the conversation ends"):
        drawn(context, learner)
    context, learner = opened(scripted(["a", Says("b", role="judge"), "c"]), rows=3, most_unscored=1.0)
    learner.tokenizer.chat_template = FORGETS.replace("[:1]", "").replace(
        "<|{{ m['role'] }}|>", "{{ raise_exception('who is that?') if m['role'] == 'judge' }}<|{{ m['role'] }}|>"
    )
    found = flatten(drawn(replace(context, on_note=lambda text: None), learner))
    failed = [each for each in found if each.stop == "failed"]
    assert failed
    assert {each.reward for each in failed} == {None}
    assert all("who is that?" in each.scores["environment"].reason for each in failed)
