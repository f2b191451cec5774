"""This module holds one episode under way: what was sampled and what was said, and the rollout that it becomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from groupwise.environments.plain import Plain
from groupwise.environments.protocol import Reply
from groupwise.tokens.opening import opened
from groupwise.tokens.renderer import Renderer
from groupwise.types import Completion, Message, Prompt, Request, Rollout, Score, Stop
from groupwise.values.spans import Span


class Episode:
    """An episode has tokens, masks and log-probabilities of the model's turns and of what stands between them."""

    def __init__(
        self, place: tuple[int, int], prompt: Prompt, world: int, request: Request, at: tuple[int, int]
    ) -> None:
        self.place, self.prompt, self.world, self.request, self.at = place, prompt, world, request, at
        self.tokens: list[int] = []
        self.mask: list[bool] = []
        self.logprobs: list[float] = []
        self.support: list[tuple[int, ...]] = []
        self.spans: list[Span] = []
        self.ends: list[int] = []
        """Of each turn, its last sampled token."""
        self.texts: list[str] = []
        self.earned: dict[int, float] = {}
        """By turn end, what the environment gave for it."""
        self.restarts: list[int] = []
        """Of each further sequence, its first token."""
        self.messages: tuple[Message, ...] = ()
        self.last_drawn: tuple[int, ...] = ()
        self.seconds = 0.0
        """That its environment took so far."""
        self.calls = self.malformed = 0
        self.has_begun = False
        self.went_wrong: Plain = {}

    @property
    def position(self) -> int:
        """Returns how many tokens the sequence has that the next turn would be drawn in."""
        return len(self.tokens) - self.restarts[-1] if self.restarts else len(self.prompt.tokens) + len(self.tokens)

    @property
    def seed(self) -> int:
        """Returns the seed of the sequence's random stream."""
        return self.request.seeds[self.at[1]]

    def begins(self, plain: Plain) -> None:
        """The environment's first words, which must be those that the prompt was opened with."""
        self.has_begun = True
        if "says" not in plain:
            self.went_wrong = plain
        elif opened(self.prompt.example.prompt, plain["says"]) != self.prompt.messages:
            words = "".join(message["content"] for message in plain["says"])[:80]
            self.went_wrong = {"failed": f"not deterministic: it began with {words!r}, otherwise than for its group"}

    def took(self, completion: Completion, renderer: Renderer) -> Reply:
        """Adds a turn of the model's, and returns it as the environment hears it."""
        offset = len(self.tokens)
        self.tokens += completion.tokens
        self.mask += [True] * len(completion.tokens)
        self.logprobs += completion.logprobs
        self.support += completion.support or [()] * len(completion.tokens)
        for version, end in completion.spans:
            if self.spans and self.spans[-1][0] == version:
                self.spans.pop()
            self.spans.append((version, offset + end))
        self.ends.append(len(self.tokens) - 1)
        self.last_drawn = completion.tokens
        reply, message = renderer.turn(completion.tokens, completion.finished, self.prompt.example)
        self.texts.append(str(reply))
        self.messages += (message,)
        self.calls += len(reply.calls)
        self.malformed += bool(reply.malformed)
        return reply

    def hears(self, said: Sequence[Mapping[str, Any]]) -> tuple[Message, ...]:
        """Messages of the environment's; what they give is for the turn before."""
        for message in said:
            if "reward" in message:
                self.earned[self.ends[-1]] = self.earned.get(self.ends[-1], 0.0) + message["reward"]
        return tuple({name: text for name, text in message.items() if name != "reward"} for message in said)

    def goes_on(self, then: Sequence[int], request: Request, at: tuple[int, int]) -> None:
        """The next turn is drawn behind ``then``; in a sequence of its own where ``request`` follows none."""
        if request.follows is None:
            self.restarts.append(len(self.tokens))
        self.tokens += then
        self.mask += [False] * len(then)
        self.logprobs += [0.0] * len(then)
        self.support += [()] * len(then)
        self.request, self.at = request, at

    def rollout(self, plain: Plain, renderer: Renderer, name: str, alone: bool) -> Rollout:
        """Returns what has become of it: ``plain`` is the environment's last word, or the reason why it was ended."""
        stop = _stop(plain)
        oldest = min(version for version, _ in self.spans)
        return Rollout(
            prompt=self.prompt,
            tokens=tuple(self.tokens),
            mask=tuple(self.mask),
            behavior_logprobs=tuple(self.logprobs),
            text="\n".join(self.texts),
            finished=stop == "finished",
            version=oldest,
            versions=tuple(self.spans) if len(self.spans) > 1 else (),
            support=tuple(self.support) if any(self.support) else None,
            scores={name: self._score(plain, stop, alone)},
            stop=stop,
            turns=tuple(self.ends),
            messages=self.messages,
            restarts=tuple(self.restarts),
        )

    def _tools(self) -> dict[str, float]:
        """Counts what the model asked of tools, where it has any."""
        has_tools = bool(self.prompt.example.columns.get("tools")) or self.calls or self.malformed
        return {"tools/calls": float(self.calls), "tools/malformed": float(self.malformed)} if has_tools else {}

    def _score(self, plain: Plain, stop: Stop, alone: bool) -> Score:
        """A sum over turns, each at its last sampled token. An episode that was cut off has what it earned so far."""
        if stop == "timeout" or stop == "failed":
            return Score(None, stop, reason=str(plain[stop]))
        said: Plain = plain.get("ends", {"value": 0.0 if alone else None})
        last, earned = said["value"], dict(self.earned)
        if last is None and not earned:
            if alone and stop == "finished":
                return Score(None, "failed", reason="returned None and gave no reward for any turn")
            return Score(None, "not_applicable", logged=self._tools() | said.get("logged", {}))
        if earned:
            earned[self.ends[-1]] = earned.get(self.ends[-1], 0.0) + (last or 0.0)
        total = sum(earned.values()) if earned else last
        return Score(
            total,
            steps=earned,
            logged=self._tools() | said.get("logged", {}),
            extras=said.get("extras", {}),
            right=said.get("success"),
        )


def _stop(plain: Plain) -> Stop:
    if "ends" in plain:
        return "finished"
    stops: dict[str, Stop] = {stop: stop for stop in get_args(Stop)}
    return stops[plain.get("stop") or next(iter(plain))]
