"""This module makes rollouts of sessions that were served: one an episode, all of its sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message, Prompt, Rollout, Score, Stop

NAME = "agent"
"""Of the reward."""


def rollout_of(
    lines: Sequence[Mapping[str, Any]], example: Example, score: Score, stop: Stop, renderer: Renderer
) -> Rollout:
    """The rollout of an episode's lines, as docs/serve.md describes them. The first sequence's prompt is its own; that
    of each further one stands among its tokens, with mask 0."""
    first, *others = lines
    tokens, mask, logprobs = list(first["tokens"]), list(map(bool, first["mask"])), list(first["logprobs"])
    support, turns, restarts = list(_support(first)), list(first["turns"]), list[int]()
    for line in others:
        restarts.append(len(tokens))
        start = len(tokens) + len(line["prompt_tokens"])
        tokens += (*line["prompt_tokens"], *line["tokens"])
        mask += (*[False] * len(line["prompt_tokens"]), *map(bool, line["mask"]))
        logprobs += (*[0.0] * len(line["prompt_tokens"]), *line["logprobs"])
        support += (*[()] * len(line["prompt_tokens"]), *_support(line))
        turns += [start + end for end in line["turns"]]
    before, behind = _conversation(lines)
    last = turns[-1]
    return Rollout(
        prompt=Prompt(example, tuple(first["prompt_tokens"]), messages=before),
        tokens=tuple(tokens),
        mask=tuple(mask),
        behavior_logprobs=tuple(logprobs),
        text=renderer.decode([token for token, own in zip(tokens, mask, strict=True) if own]),
        finished=stop == "finished",
        version=min(line["version"] for line in lines),
        rewards={} if score.value is None else {last: score.value},
        scores={NAME: score},
        support=tuple(support) if any(support) else None,
        correct=None if score.value is None else score.value >= 1 if score.right is None else score.right,
        stop=stop,
        turns=tuple(turns),
        messages=behind,
        restarts=tuple(restarts),
    )


def _support(line: Mapping[str, Any]) -> Sequence[tuple[int, ...]]:
    return tuple(map(tuple, line["support"])) if "support" in line else ((),) * len(line["tokens"])


def _conversation(lines: Sequence[Mapping[str, Any]]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """Returns what was said before the first answer, and behind that all of the first sequence's and of each further
    one."""
    said = tuple(lines[0]["messages"])
    first = next((place for place, each in enumerate(said) if each["role"] == "assistant"), len(said))
    return said[:first], said[first:] + tuple(message for line in lines[1:] for message in line["messages"])
