"""The one loop over episodes: the model takes a turn, its environment answers, the model goes on.

While one episode waits for its environment the engine draws the turns of others. What an episode becomes depends on
its seeds alone: never on who answered first, nor on how long that took.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from groupwise.environments.plain import Plain
from groupwise.environments.turns import Turns
from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine, Stream
from groupwise.rewards.episodes import EpisodeReward
from groupwise.seeding import stable_seed
from groupwise.sources.episode import Episode
from groupwise.sources.episode_metrics import WorldTime
from groupwise.tasks.episode_rows import row_of, with_tools
from groupwise.tokens.between import RewrittenError
from groupwise.tokens.opening import opened
from groupwise.tokens.renderer import Renderer
from groupwise.types import CompletionEvent, Example, Message, Prompt, Request, Rollout, Sampling

TOGETHER = 32  # turns, at most, that have ended when their environments are asked: the first do not wait for all others
PATIENCE_SECONDS = 0.5  # for an answer, where nothing is drawn meanwhile

Place = tuple[int, int]
"""The number of the prompt and the index of the rollout in its group."""


def open_prompts(renderer: Renderer, reward: EpisodeReward, rows: Sequence[tuple[Example, int]]) -> list[Prompt | str]:
    """Returns for each row and the seed of its world the prompt that its environment opens, or why it did not."""
    worlds = reward.worlds
    rows = [(with_tools(example, reward.environment), seed) for example, seed in rows]
    numbers = {worlds.begin(row_of(example), seed): place for place, (example, seed) in enumerate(rows)}
    found: dict[int, Prompt | str] = {}
    try:
        while len(found) < len(rows):
            for number, plain, _ in worlds.hear(PATIENCE_SECONDS):
                if number in numbers:
                    place = numbers[number]
                    found[place] = _opened(renderer, *rows[place], heard_by(renderer, reward.turns, plain))
                    worlds.close_episode(number)
    finally:
        for number in numbers:
            worlds.close_episode(number)
        worlds.flush()
    return [found[place] for place in range(len(rows))]


def _opened(renderer: Renderer, example: Example, seed: int, plain: Plain) -> Prompt | str:
    if "says" not in plain:
        return str(plain.get("failed") or plain.get("timeout") or "it ended before the model said anything")
    if any("reward" in message for message in plain["says"]):
        return "it gave a reward before the model said anything"
    messages = opened(example.prompt, plain["says"])
    said = messages if renderer.is_chat else "".join(message["content"] for message in messages)
    try:
        prompt = renderer.prompt(replace(example, prompt=said))
    except UserError as error:  # of what it said: other rows may do better
        return str(error).removeprefix(f"{example.id}: ")
    return replace(prompt, example=example, world=seed, messages=messages)


def heard_by(renderer: Renderer, turns: Turns, plain: Plain) -> Plain:
    """Returns what an environment said as the model hears it: no message has more tokens than ``turns`` allows."""
    if "says" not in plain or not turns.observation_tokens:
        return plain
    said = [
        {**each, "content": renderer.between.shortened(each["content"], turns.observation_tokens)}
        for each in plain["says"]
    ]
    return {**plain, "says": said}


Heard = Callable[[Place, Sequence[Mapping[str, Any]]], object]
"""Hears the messages of an environment, each perhaps with the reward that it gives to the turn before."""

Played = tuple[Place, Rollout]
"""An episode that is over."""


def play(
    engine: RolloutEngine,
    renderer: Renderer,
    reward: EpisodeReward,
    prompts: Sequence[Prompt],
    seeds: Sequence[tuple[int, ...]],
    sampling: Sampling,
    alone: bool = True,
    clock: WorldTime | None = None,
    on_heard: Heard = lambda place, said: None,
) -> Iterator[Played]:
    """Plays an episode for each seed of each prompt, which ``open_prompts`` has opened, and yields each as it ends.

    ``sampling.max_tokens`` are those that the model says in all turns together. ``alone``: no other reward scores it.
    ``clock`` is told what environments took, ``on_heard`` what they answer to a turn.
    """
    stream = engine.stream(sampling)
    clock = clock or WorldTime()
    game = _Game(stream, renderer, reward, sampling, engine.context_tokens, alone, clock, on_heard)
    try:
        for number, (prompt, own) in enumerate(zip(prompts, seeds, strict=True)):
            game.begin(number, prompt, own)
        game.listen()
        while game.is_open:
            for count, event in enumerate(stream.events(), 1):
                if isinstance(event, CompletionEvent):
                    game.drawn(event)
                if count % TOGETHER == 0 or not stream.has_next():
                    game.listen()
                yield from game.over()
            if game.is_open:
                started = time.perf_counter()
                game.listen(PATIENCE_SECONDS)
                clock.waiting += time.perf_counter() - started
                yield from game.over()
    finally:
        stream.close()
        game.close()


class _Game:
    """This plays all episodes of one call."""

    def __init__(
        self,
        stream: Stream,
        renderer: Renderer,
        reward: EpisodeReward,
        sampling: Sampling,
        context_tokens: int,
        alone: bool,
        clock: WorldTime,
        on_heard: Heard,
    ) -> None:
        self.on_heard = on_heard
        self.stream, self.renderer, self.reward, self.alone, self.clock = stream, renderer, reward, alone, clock
        self.worlds, self.turns, self.most = reward.worlds, reward.turns, sampling.max_tokens
        self.context = min(self.turns.context_tokens or context_tokens, context_tokens)
        self.drawing: dict[tuple[int, int], Episode] = {}
        """By the number of the request in the stream, and the index of the completion in it."""
        self.living: dict[int, Episode] = {}
        """By the number of their world."""
        self.held: Counter[int] = Counter()
        """Completions of each request of the stream that the engine may keep something of."""
        self.done: list[Played] = []

    @property
    def is_open(self) -> bool:
        """Says whether an episode goes on."""
        return bool(self.living)

    def begin(self, number: int, prompt: Prompt, seeds: tuple[int, ...]) -> None:
        """The first turn of a group, for which the prompt is computed once."""
        assert prompt.world is not None
        room = self._room(len(prompt.tokens), 0)
        request = Request(prompt.tokens, seeds, max_tokens=room, keep=self.turns.most > 1)
        at = self.stream.submit(request)
        self.held[at] = len(seeds)
        for index in range(len(seeds)):
            world = self.worlds.begin(row_of(prompt.example), prompt.world)
            episode = Episode((number, index), prompt, world, request, (at, index))
            self.living[world] = self.drawing[at, index] = episode

    def drawn(self, event: CompletionEvent) -> None:
        """The model has ended a turn, or was cut off."""
        episode = self.drawing.pop((event.request, event.index))
        reply = episode.took(event.completion, self.renderer)
        if episode.went_wrong:
            self._end(episode, episode.went_wrong)
        elif not event.completion.finished:
            self._end(episode, {"stop": "context" if episode.position >= self.context else "truncated"})
        else:
            self.worlds.say(episode.world, reply)

    def listen(self, seconds: float = 0.0) -> None:
        """Takes what environments have answered within so many seconds, and goes on with those episodes."""
        for number, plain, taken in self.worlds.hear(seconds):
            episode = self.living.get(number)
            if episode is None:
                continue
            plain = heard_by(self.renderer, self.turns, plain)
            self.clock.seconds += taken - episode.seconds
            episode.seconds = taken
            if not episode.has_begun:
                episode.begins(plain)
                if "says" in plain and not episode.went_wrong:
                    continue
                plain = episode.went_wrong or plain
            if episode.at in self.drawing:
                episode.went_wrong = plain  # told when the turn that is drawn has ended
            elif "says" in plain:
                self._answered(episode, plain["says"])
            else:
                self._end(episode, plain)

    def _answered(self, episode: Episode, said: Sequence[Mapping[str, Any]]) -> None:
        """The environment has answered a turn: the next one is drawn behind it."""
        messages = episode.hears(said)
        self.on_heard(episode.place, said)
        if len(episode.ends) >= self.turns.most:
            self._end(episode, {"stop": "turns"})
            return
        try:
            then, is_anew = self._written(episode, messages)
        except RewrittenError:
            raise
        except UserError as error:  # the template refuses what was said
            self._end(episode, {"failed": str(error).removeprefix(f"{episode.prompt.example.id}: ")})
            return
        episode.messages += messages
        position = len(then) + (0 if is_anew else episode.position)
        if position >= self.context:
            self._end(episode, {"stop": "context"})
            return
        room = self._room(position, sum(episode.mask))
        if room <= 0:
            self._end(episode, {"stop": "truncated"})
            return
        request, index = episode.at
        keep = len(episode.ends) + 1 < self.turns.most
        if is_anew:  # its random stream begins anew as well, and is another one
            seed = stable_seed(episode.seed, "sequence", len(episode.restarts) + 1)
            further = Request(then, (seed,), max_tokens=room, keep=keep)
        else:
            further = episode.request.resumed(request, index, episode.last_drawn, then)
            further = replace(further, max_tokens=room, keep=keep)
        at = self.stream.submit(further), 0
        self._release(request)
        self.held[at[0]] = 1
        episode.goes_on(then, further, at)
        self.drawing[at] = episode

    def _written(self, episode: Episode, said: tuple[Message, ...]) -> tuple[tuple[int, ...], bool]:
        """What the next turn is drawn behind, and whether that is all of the conversation. Raises RewrittenError where
        the template writes earlier turns otherwise now, and that may not be."""
        example, before = episode.prompt.example, (*episode.prompt.messages, *episode.messages)
        try:
            return tuple(self.renderer.between.ids(example, before, said, episode.tokens[-1])), False
        except RewrittenError:
            if self.turns.rewritten != "branch":
                raise
            return self.renderer.between.anew(example, (*before, *said)), True

    def _room(self, position: int, sampled: int) -> int:
        """Returns how many tokens the next turn may have."""
        left = min(self.most - sampled, self.context - position)
        return min(left, self.turns.turn_tokens or left)

    def _end(self, episode: Episode, plain: Plain) -> None:
        del self.living[episode.world]
        self.worlds.close_episode(episode.world)
        self._release(episode.at[0])
        rollout = episode.rollout(plain, self.renderer, self.reward.name, self.alone)
        self.done.append((episode.place, rollout))

    def _release(self, request: int) -> None:
        """Counts one completion less of a request that the engine keeps anything of."""
        self.held[request] -= 1
        if not self.held[request]:
            self.stream.cancel(request)

    def over(self) -> Iterator[Played]:
        """Episodes that ended since this was last asked."""
        done, self.done = self.done, []
        yield from done

    def close(self) -> None:
        """Closes the environments of episodes that still go on."""
        for world in self.living:
            self.worlds.close_episode(world)
        self.worlds.flush()
