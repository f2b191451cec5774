"""The report's episodes: a conversation as bubbles, the model's painted token by token, all others' grey."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.report.markup import Html, element, number

Json = Mapping[str, Any]


def stops(rollouts: Sequence[Json]) -> str:
    """Why how many of them ended; empty where they are no episodes."""
    counts = Counter(rollout["stop"] for rollout in rollouts if rollout.get("stop"))
    return "".join(f" · {count} {stop}" for stop, count in counts.most_common())


def said(parts: Sequence[Json], tokens: Sequence[Html]) -> Html:
    """A conversation; ``tokens`` are those of all turns and of what stands between them, painted already."""
    bubbles, turn = [], 0
    for part in parts:
        if "tokens" not in part:
            bubbles.append(heard(part))
            continue
        turn += 1
        begin, end = part["tokens"]
        label = f"Turn {turn} of the model: {part['text']}"
        text = element("p", *tokens[begin:end], class_="tokens", tabindex="0", role="group", aria_label=label)
        bubbles.append(element("div", text, _earned(turn, part), class_="bubble model"))
    return element("div", *bubbles, class_="said")


def heard(part: Json) -> Html:
    """What somebody else said: none of it was sampled, so none of it is trained on."""
    who = f"tool {part['tool']}" if part.get("tool") else part["role"]
    return element("div", element("small", who), element("p", part["text"]), class_="bubble heard")


def _earned(turn: int, part: Json) -> Html:
    """What stands at the turn's last token."""
    words: list[str] = [f"turn {turn}"]
    if part.get("reward") is not None:
        words += [" · reward ", element("b", number(part["reward"], signed=True))]
    return element("small", *words, " · advantage ", element("b", number(part.get("advantage"), signed=True)))
