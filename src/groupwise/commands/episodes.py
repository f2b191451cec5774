"""Episodes in the terminal: an environment talks, and the model, or the person at the keyboard, answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from groupwise.commands.conversation import TextStream
from groupwise.errors import UserError
from groupwise.output.conversation import shortened
from groupwise.output.counting import counted
from groupwise.protocols import RolloutEngine, Stream
from groupwise.seeding import stable_seed
from groupwise.types import Completion, CompletionEvent, Event, Example, Prompt, Request, Rollout, Sampling, TokenEvent

if TYPE_CHECKING:
    from groupwise.tasks.task import Task
    from groupwise.tokens.renderer import Renderer

Show = Callable[[str], None]
Ask = Callable[[], Sequence[int]]
"""The ids of the next turn; an EOFError leaves."""


@dataclass
class Player:
    """Plays episodes of a task, and shows them as they go."""

    engine: RolloutEngine
    renderer: Renderer
    task: Task
    sampling: Sampling
    seed: int
    show: Show

    def play(self, example: Example) -> Rollout:
        """Plays one episode of a row. Raises UserError where its environment does not begin, or what it says first
        leaves no room for an answer."""
        from groupwise.rewards.scoring import score_rollouts
        from groupwise.sources.episodes import play

        prompt = self._opened(example)
        for message in prompt.messages:
            self._show_message(message)
        seeds = (stable_seed(self.seed, example.id, 0),)
        assert self.task.episodes is not None
        alone = len(self.task.rewards) == 1
        played = play(
            self.engine
            if isinstance(self.engine, Person)
            else EchoEngine(self.engine, self.renderer.decode, self.show),
            self.renderer,
            self.task.episodes,
            [prompt],
            [seeds],
            self.sampling,
            alone,
            on_heard=lambda place, said: self._show_all(said),
        )
        rollouts = [rollout for _, rollout in played]
        return score_rollouts(rollouts, self.task.rewards, self.task.judge, self.task.referee)[0][0]

    def _opened(self, example: Example) -> Prompt:
        from groupwise.sources.episodes import open_prompts

        assert self.task.episodes is not None
        world = stable_seed(self.seed, example.id, "world")
        [prompt] = open_prompts(self.renderer, self.task.episodes, [(example, world)])
        if isinstance(prompt, str):
            raise UserError(f"{example.id}: the environment {self.task.episodes.name} did not begin: {prompt}")
        if len(prompt.tokens) >= self.engine.context_tokens:
            raise UserError(
                f"{example.id}: what stands before the first turn has {counted(len(prompt.tokens), 'token')}, and the "
                f"context of {self.engine.context_tokens} leaves no room for an answer"
            )
        return prompt

    def _show_all(self, messages: Sequence[Mapping[str, Any]]) -> None:
        for message in messages:
            self._show_message(message)

    def _show_message(self, message: Mapping[str, Any]) -> None:
        """Shows what somebody else says."""
        who = f"tool {message['name']}" if message.get("name") else message["role"]
        earned = f"  (reward {message['reward']:+g})" if message.get("reward") else ""
        self.show(f"[{who}] {shortened(str(message['content']))}{earned}\n")


def ending(rollout: Rollout, name: str) -> str:
    """Says in one line how an episode ended: reward, verdict, stop reason, turns, and what the environment ``name``
    counted or why it failed."""
    reward = "no reward" if rollout.reward is None else f"reward {rollout.reward:g}"
    verdict = {None: "", True: ", success", False: ", no success"}[rollout.correct]
    turns = counted(len(rollout.turns), "turn")
    score = rollout.scores[name]
    why = f": {score.reason}" if score.reason else ""
    said = [f"{each.replace('_', ' ')} {value:g}" for each, value in score.logged.items()]
    values = {each: found.value for each, found in rollout.scores.items() if found.value is not None}
    said += [f"{each} {value:g}" for each, value in values.items() if len(values) > 1]
    beside = f" ({', '.join(said)})" if said else ""
    return f"{reward}{verdict}; {rollout.stop} after {turns}{why}{beside}"


class EchoEngine(RolloutEngine):
    """This engine shows its tokens as they are drawn."""

    def __init__(self, engine: RolloutEngine, decode: Callable[[list[int]], str], show: Show) -> None:
        self.engine, self.decode, self.show = engine, decode, show
        self.version, self.context_tokens = engine.version, engine.context_tokens

    def load(self, weights: Iterable[Any], version: int) -> None:
        """Loads weights into the engine behind it."""
        self.engine.load(weights, version)

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream that shows each token of its completions as it is sampled."""
        return _EchoStream(self.engine.stream(sampling, every_token=True), self.decode, self.show)


class _EchoStream(Stream):
    """This stream shows one completion at a time."""

    def __init__(self, stream: Stream, decode: Callable[[list[int]], str], show: Show) -> None:
        self.stream, self.decode, self.show = stream, decode, show
        self.text: TextStream | None = None

    def submit(self, request: Request) -> int:
        return self.stream.submit(request)

    def events(self) -> Iterator[Event]:
        for event in self.stream.events():
            if self.text is None:
                self.text = TextStream(self.decode)
                self.show("[model] ")
            if isinstance(event, TokenEvent):
                self.show(self.text.add(event.token))
                continue
            self.show(f"{self.text.end()}\n")
            self.text = None
            yield event

    def cancel(self, number: int) -> None:
        self.stream.cancel(number)

    def close(self) -> None:
        self.stream.close()


class Person(RolloutEngine):
    """The person at the keyboard in place of a model, in the same conversation, with the same budgets."""

    version = 0

    def __init__(self, context_tokens: int, ask: Ask) -> None:
        self.context_tokens, self.ask = context_tokens, ask

    def load(self, weights: Iterable[Any], version: int) -> None:
        """Does nothing: a person has no weights."""

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream whose completions a person types."""
        return _PersonStream(self.ask, sampling)


@dataclass
class _PersonStream(Stream):
    """This stream asks a person for one completion after the other."""

    ask: Ask
    sampling: Sampling
    count: int = 0
    waiting: list[tuple[int, Request]] = field(default_factory=list)

    def submit(self, request: Request) -> int:
        self.waiting.append((self.count, request))
        self.count += 1
        return self.count - 1

    def events(self) -> Iterator[Event]:
        while self.waiting:
            number, request = self.waiting.pop(0)
            most = self.sampling.max_tokens if request.max_tokens is None else request.max_tokens
            tokens = tuple(self.ask())
            finished = len(tokens) <= most
            yield CompletionEvent(number, 0, Completion(tokens[:most], (0.0,) * len(tokens[:most]), finished, 0))

    def cancel(self, number: int) -> None:
        self.waiting = [each for each in self.waiting if each[0] != number]

    def close(self) -> None:
        self.waiting.clear()


@dataclass(frozen=True)
class Keyboard:
    """Makes tokens of what a person types, as the model would have to say it."""

    renderer: Renderer
    example: Example
    """With its tools, where it has any."""

    def turn(self, text: str) -> tuple[int, ...]:
        """A turn that says that text, and the token that ends it."""
        tokens = self.renderer.tokenizer.encode(text, add_special_tokens=False)
        return (*tokens, self._answered("a")[-1])

    def call(self, name: str, arguments: Mapping[str, Any]) -> tuple[int, ...]:
        """A turn that calls a tool, as the model's template writes it."""
        function = {"name": name, "arguments": dict(arguments)}
        call = {"id": "call00001", "type": "function", "function": function}
        return self._answered(({"role": "assistant", "content": "", "tool_calls": [call]},))

    def _answered(self, completion: Any) -> tuple[int, ...]:
        asked = "question" if not self.renderer.is_chat else ({"role": "user", "content": "question"},)
        rollout = self.renderer.demonstration(replace(self.example, prompt=asked, completion=completion))
        return tuple(token for token, own in zip(rollout.tokens, rollout.mask, strict=True) if own)
