"""Random episodes: what the engine drew is what is trained, id for id, and the learner agrees with every probability.

    python benchmarks/faults --only conversations --episodes 10000

Environments say anything, some of it spelled as special tokens, give rewards, say several things, nothing, or end; the
model's words are random, and so are the budgets that cut its turns and its episodes off.
"""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

import groupwise as gw
from groupwise.engines import Native
from groupwise.environments import Reply, Says, Turns
from groupwise.learners.local import LocalLearner
from groupwise.protocols import RolloutEngine, Stream
from groupwise.sources.episodes import open_prompts, play
from groupwise.tasks.task_renderer import renderer_of
from groupwise.types import CompletionEvent, Event, Prompt, Request, Rollout, Sampling

PROMPTS, GROUP = 25, 4
MODEL = gw.NewModel(hidden_size=32, layers=2, heads=4, intermediate_size=64, context_tokens=192)
ENDINGS = tuple(range(60, 130))
"""Further ids that end a turn, so that a random model does so every few tokens."""
WORDS = (
    "more",
    "less",
    "<|end|>",
    "é",
    "",
    "a longer thing to say",
    "<|assistant|>x",
    "\u2028",
    "</tool_call>",
    "🙂" * 9,
)
TOLERANCE = 1e-5
"""Nats between engine and learner."""


def talks(row: Mapping[str, Any], random: Random) -> Generator[Any, Reply, Any]:
    """Says anything for a while, and sometimes gives something for a turn."""
    said = yield f"row {row['n']}"
    for _ in range(random.randint(0, 7)):
        if len(said) % 7 == 3:
            return {"reward": 0.5, "success": True}
        words = random.choice(WORDS)
        several = [Says(words), Says("and", role="system")]
        said = yield random.choice([words, Says(words, reward=0.25), Says(words, role="tool", name="t"), several, None])
    return float(len(said) % 3)


class Recorded:
    """An engine whose streams keep what they drew, by the seed that it was drawn with."""

    def __init__(self, engine: RolloutEngine) -> None:
        self.engine, self.context_tokens = engine, engine.context_tokens
        self.drawn: dict[int, list[tuple[int, float]]] = {}

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        return RecordedStream(self.engine.stream(sampling, every_token), self.drawn)


class RecordedStream(Stream):
    """Writes down each completion of another stream."""

    def __init__(self, stream: Stream, drawn: dict[int, list[tuple[int, float]]]) -> None:
        self.stream, self.drawn = stream, drawn
        self.requests: dict[int, Request] = {}

    def submit(self, request: Request) -> int:
        number = self.stream.submit(request)
        self.requests[number] = request
        return number

    def events(self) -> Iterator[Event]:
        for event in self.stream.events():
            if isinstance(event, CompletionEvent):
                seed = self.requests[event.request].seeds[event.index]
                one = event.completion
                self.drawn.setdefault(seed, []).extend(zip(one.tokens, one.logprobs, strict=True))
            yield event

    def cancel(self, number: int) -> None:
        self.stream.cancel(number)

    def close(self) -> None:
        self.stream.close()


def conversations(place: Path, episodes: int, seed: int) -> dict[str, Any]:
    """Plays at least so many. ``lost``: episodes of which something else is trained than was drawn."""
    MODEL.save(place / "model")
    learner = gw.Local(device="cpu", threads=1).open(place / "model")
    random, played, tokens, furthest = Random(seed), 0, 0, 0.0
    stops: dict[str, int] = {}
    lost: list[str] = []
    while played < episodes:
        turns = Turns(
            most=random.randint(1, 8),
            turn_tokens=random.choice([0, 2, 6]),
            context_tokens=random.choice([0, 0, 60, 100]),
            observation_tokens=random.choice([0, 0, 4]),
            processes=random.randint(1, 3),
        )
        first = played
        for rollout, drawn, far in _played(learner, turns, random):
            where = f"episode {played} (seed {seed}, the round from {first} on, {turns})"
            played, tokens, furthest = played + 1, tokens + len(drawn), max(furthest, far)
            stops[str(rollout.stop)] = stops.get(str(rollout.stop), 0) + 1
            if (wrong := _wrong(rollout, drawn)) or far > TOLERANCE:
                lost.append(f"{where}: {wrong or f'engine and learner are {far:.2g} nats apart'}")
    return {"episodes": played, "tokens_drawn": tokens, "stops": stops, "nats_apart": furthest, "lost": lost[:20]}


def _played(
    learner: LocalLearner, turns: Turns, random: Random
) -> Iterator[tuple[Rollout, list[tuple[int, float]], float]]:
    """One round: each rollout, what was drawn for it, and how far the learner is from the engine on any of it."""
    task = gw.Task("talks", [{"n": random.randint(0, 10**6)} for _ in range(PROMPTS)], environment=talks, turns=turns)
    reward = task.episodes
    assert reward is not None
    renderer = renderer_of(task, learner.tokenizer, "new", (*learner.stop_tokens, *ENDINGS))
    engine = Recorded(Native().open("new", learner.live_module(), learner.tokenizer))
    worlds = [random.getrandbits(60) for _ in range(PROMPTS)]
    opened = open_prompts(renderer, reward, list(zip(task.train, worlds, strict=True)))
    prompts = [prompt for prompt in opened if isinstance(prompt, Prompt)]
    seeds = [tuple(random.getrandbits(100) for _ in range(GROUP)) for _ in prompts]
    how = renderer.sampling(random.choice([10, 40, 80]))
    done = list(play(engine, renderer, reward, prompts, seeds, how))  # type: ignore[arg-type]
    reward.worlds.close()
    learned = learner.logprobs([rollout for _, rollout in done], 1.0)
    for row, ((number, index), rollout) in enumerate(done):
        far = max(abs(float(learned[row, at]) - each) for at, each in enumerate(rollout.behavior_logprobs))
        yield rollout, engine.drawn[seeds[number][index]], far


def _wrong(rollout: Rollout, drawn: list[tuple[int, float]]) -> str:
    """What is trained otherwise than it was drawn; nothing where all is right."""
    trained = itertools.compress(zip(rollout.tokens, rollout.behavior_logprobs, strict=True), rollout.mask)
    if list(trained) != drawn:
        return "the ids at mask 1 and their log-probabilities are not those that were drawn"
    if any(each for each, own in zip(rollout.behavior_logprobs, rollout.mask, strict=True) if not own):
        return "what the environment said has a log-probability"
    ends = [at for at, own in enumerate(rollout.mask) if own and not (*rollout.mask, False)[at + 1]]
    return "" if set(ends) <= set(rollout.turns) else f"turns end at {ends}, and the rollout says {rollout.turns}"
