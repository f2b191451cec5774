"""A group under way is sampled part by part: after each part other weights may go on."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, field

from groupwise.protocols import Stream
from groupwise.sources.rollouts import as_rollout
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Segmentation
from groupwise.types import Completion, Prompt, Request, Rollout
from groupwise.values.spans import Span


@dataclass
class PartialCompletion:
    """This is what is drawn of one completion so far."""

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    support: list[tuple[int, ...]] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    finished: bool = False
    over: bool = False

    def add(self, part: Completion) -> None:
        """Puts a part behind what there is: log-probabilities as the ledger keeps them, so that what is learned from it
        again is the same to the bit."""
        self.tokens += part.tokens
        self.logprobs += array("f", part.logprobs)
        self.support += part.support or ()
        if self.spans and self.spans[-1][0] == part.version:
            self.spans.pop()
        self.spans.append((part.version, len(self.tokens)))
        self.finished = part.finished

    def whole(self) -> Completion:
        """Returns what an engine would have returned."""
        oldest = min(version for version, _ in self.spans)
        several = tuple(self.spans) if len(self.spans) > 1 else ()
        support = tuple(self.support) if self.support else None
        return Completion(tuple(self.tokens), tuple(self.logprobs), self.finished, oldest, support, several)


class OpenGroup:
    """The completions of one prompt until all have ended."""

    def __init__(self, place: int, prompt: Prompt, seeds: Sequence[int], most: int, context_tokens: int) -> None:
        self.place, self.prompt, self.seeds = place, prompt, seeds
        self.most = min(most, context_tokens - len(prompt.tokens))
        self.begun = [PartialCompletion() for _ in seeds]
        self.oldest_step: int | None = None

    @property
    def is_over(self) -> bool:
        """Says whether all completions have ended."""
        return all(each.over for each in self.begun)

    @property
    def has_begun(self) -> bool:
        """Says whether a token of it is drawn."""
        return self.oldest_step is not None

    def left(self) -> list[int]:
        """The indices of completions that go on."""
        return [index for index, each in enumerate(self.begun) if not each.over]

    def request(self, index: int, segment: int, after: int | None = None) -> Request:
        """The next part of a completion, which may go on from request ``after`` of its stream."""
        drawn = tuple(self.begun[index].tokens)
        room = min(segment, self.most - len(drawn))
        keep = room < self.most - len(drawn)
        follows = None if after is None else (after, 0)
        return Request(self.prompt.tokens, (self.seeds[index],), drawn, room, keep, follows)

    def add(self, index: int, part: Completion, step: int) -> bool:
        """Takes a part that weights of that step drew; whether the completion goes on."""
        begun = self.begun[index]
        begun.add(part)
        begun.over = part.finished or len(begun.tokens) >= self.most
        self.oldest_step = step if self.oldest_step is None else min(self.oldest_step, step)
        return not begun.over

    def rollouts(self, renderer: Renderer, steps: Segmentation | None) -> list[Rollout]:
        """The whole completions, in order."""
        return [as_rollout(self.prompt, each.whole(), renderer, steps) for each in self.begun]


class Parts:
    """The parts under way in one stream of an engine."""

    def __init__(self, stream: Stream, segment: int) -> None:
        self.stream, self.segment = stream, segment
        self.under_way: dict[int, tuple[OpenGroup, int, bool]] = {}
        """By the request's number: the group, the completion's index, and whether the engine keeps anything of it."""

    def submit_all(self, group: OpenGroup) -> None:
        """The next part of every completion of a group that goes on."""
        for index in group.left():
            self.submit(group, index)

    def submit(self, group: OpenGroup, index: int, after: int | None = None) -> None:
        """The next part of one, which may go on from request ``after``."""
        request = group.request(index, self.segment, after)
        self.under_way[self.stream.submit(request)] = group, index, request.keep
