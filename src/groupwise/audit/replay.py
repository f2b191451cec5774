"""This module plays episodes of a run again: the words that its model said, against the environment as it is today.

They go through the loop that trains, with an engine that says what was recorded in place of one that draws.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from groupwise.protocols import RolloutEngine, Stream
from groupwise.rewards.episodes import EpisodeReward
from groupwise.seeding import stable_seed
from groupwise.sources.episodes import open_prompts, play
from groupwise.tokens.renderer import Renderer
from groupwise.types import Completion, CompletionEvent, Event, Example, Message, Prompt, Request, Rollout, Sampling

BUDGETS = ("truncated", "context", "turns")
"""Stop reasons that are the run's and not the environment's."""
SHOWN = 5
ENDLESS = 1 << 40


@dataclass(frozen=True)
class RecordedEpisode:
    """This is an episode as a ledger has it."""

    example: str
    """The id of its row."""
    world: int
    turns: tuple[tuple[int, ...], ...]
    """What was drawn in each."""
    stop: str
    reward: float | None
    """The environment's own."""
    messages: list[Message]


def recorded(row: Mapping[str, Any], name: str) -> RecordedEpisode:
    """An episode of a ledger's row; ``name`` is the environment's among the rewards."""
    turns, start = [], 0
    for end in row["turns"]:
        turns.append(tuple(row["tokens"][place] for place in range(start, end + 1) if row["mask"][place]))
        start = end + 1
    scores = dict(row["scores"] or ())
    messages = json.loads(row["messages"])
    return RecordedEpisode(row["example"], row["world_seed"], tuple(turns), row["stop"], scores.get(name), messages)


@dataclass
class ReplayFinding:
    """A finding says how episodes went again."""

    same: int = 0
    differing: Counter[str] = field(default_factory=Counter)
    """By what differs first: words, stop, reward; gone: the row is no more; unbegun."""
    examples: list[str] = field(default_factory=list)

    def add(self, row: str, kind: str, what: str) -> None:
        """Counts an episode that went otherwise, by the kind of difference, and keeps a line about it."""
        self.differing[kind] += 1
        line = f"{row}: {what}"
        if len(self.examples) < SHOWN and line not in self.examples:  # members of a group go wrong alike
            self.examples.append(line)

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as plain values, which JSON can hold."""
        return {"same": self.same, "differing": dict(self.differing), "examples": self.examples}


def replayed(
    reward: EpisodeReward, renderer: Renderer, rows: Iterable[Example], episodes: Sequence[RecordedEpisode]
) -> ReplayFinding:
    """Plays each episode again and compares. ``rows`` are the task's, found by their ids."""
    finding = ReplayFinding()
    try:
        begun = _begun(finding, reward, renderer, rows, episodes)
        engine = RecordedEngine([each for each, _ in begun])
        seeds = [(number,) for number in range(len(begun))]
        played = play(engine, renderer, reward, [prompt for _, prompt in begun], seeds, renderer.sampling(ENDLESS))
        again = {number: rollout for (number, _), rollout in played}
    finally:
        reward.worlds.close()
    for number, (each, _) in enumerate(begun):
        _compare(finding, each, again[number], number in engine.beyond, reward.name)
    return finding


def _begun(
    finding: ReplayFinding,
    reward: EpisodeReward,
    renderer: Renderer,
    rows: Iterable[Example],
    episodes: Sequence[RecordedEpisode],
) -> list[tuple[RecordedEpisode, Prompt]]:
    """Those that can be played, each with its prompt as its environment opens it now; the others are taken down."""
    wanted = {each.example for each in episodes}
    known = {row.id: row for row in rows if row.id in wanted}
    there = [each for each in episodes if each.example in known]
    for each in episodes:
        if each.example not in known:
            finding.add(each.example, "gone", "the task has no row of this id any more")
    found = []
    opened = open_prompts(renderer, reward, [(known[each.example], each.world) for each in there])
    for each, prompt in zip(there, opened, strict=True):
        if isinstance(prompt, str):
            finding.add(each.example, "unbegun", f"does not begin: {prompt}")
        else:
            found.append((each, prompt))
    return found


def _compare(finding: ReplayFinding, was: RecordedEpisode, now: Rollout, goes_on: bool, name: str) -> None:
    said = json.loads(json.dumps([*now.prompt.messages, *now.messages], default=str))
    said = said[:-1] if goes_on else said  # without the turn that nobody recorded
    place = next((n for n, (a, b) in enumerate(zip(was.messages, said, strict=False)) if a != b), None)
    if place is not None:
        seen, before = _shown(said[place]), _shown(was.messages[place])
        finding.add(was.example, "words", f"message {place + 1} is {seen}; the run heard {before}")
        return
    stop = was.stop if goes_on and was.stop in BUDGETS else "goes on" if goes_on else str(now.stop)
    score = now.scores[name]
    if stop != was.stop:
        why = f" ({score.reason})" if score.reason else ""
        finding.add(was.example, "stop", f"{stop}{why}; the run saw {was.stop}")
    elif len(said) != len(was.messages) and was.stop not in BUDGETS:
        finding.add(was.example, "words", f"{len(said)} messages; the run heard {len(was.messages)}")
    elif was.stop not in BUDGETS and score.value != was.reward:
        finding.add(was.example, "reward", f"reward {score.value}; the run saw {was.reward}")
    else:
        finding.same += 1


def _shown(message: Mapping[str, Any]) -> str:
    text = f"{message['role']}: {' '.join(str(message['content']).split())}"
    return repr(text if len(text) <= 100 else f"{text[:70]} ... {text[-20:]}")


class RecordedEngine(RolloutEngine):
    """An engine that says what was recorded: the number of an episode is its seed."""

    version, context_tokens = 0, ENDLESS

    def __init__(self, episodes: Sequence[RecordedEpisode]) -> None:
        self.episodes = episodes
        self.beyond: set[int] = set()
        """Episodes that were asked for a turn more than they had."""
        self.numbers: dict[int, int] = {}
        for number, each in enumerate(episodes):
            seed = self.numbers[number] = number
            for count in range(1, len(each.turns) + 1):  # those of the sequences that it may begin
                seed = stable_seed(seed, "sequence", count)
                self.numbers[seed] = number

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of the completions that were recorded (``protocols.RolloutEngine``)."""
        return _RecordedStream(self)

    def load(self, weights: Iterable[tuple[str, Any]], version: int) -> None:
        """Does nothing: what was recorded has no weights."""


class _RecordedStream(Stream):
    """This stream gives back the completions that were recorded, instead of sampling."""

    def __init__(self, engine: RecordedEngine) -> None:
        self.engine, self.count = engine, 0
        self.asked: list[tuple[int, int]] = []
        self.turns: Counter[int] = Counter()

    def submit(self, request: Request) -> int:
        number, self.count = self.count, self.count + 1
        self.asked.append((number, self.engine.numbers[request.seeds[0]]))
        return number

    def events(self) -> Iterator[Event]:
        while self.asked:
            request, number = self.asked.pop()
            yield CompletionEvent(request, 0, self._next(number))

    def _next(self, number: int) -> Completion:
        episode, turn = self.engine.episodes[number], self.turns[number]
        self.turns[number] += 1
        if turn >= len(episode.turns):
            self.engine.beyond.add(number)
            return Completion((0,), (0.0,), False, 0)
        tokens = episode.turns[turn]
        is_cut = turn == len(episode.turns) - 1 and episode.stop in ("truncated", "context")
        return Completion(tokens, (0.0,) * len(tokens), not (is_cut and self._ends_cut(episode)), 0)

    def _ends_cut(self, episode: RecordedEpisode) -> bool:
        """Whether the last turn itself was cut off, and not what would have come behind it."""
        return episode.messages[-1]["role"] == "assistant"

    def cancel(self, number: int) -> None:
        self.asked = [each for each in self.asked if each[0] != number]

    def close(self) -> None:
        self.asked.clear()
