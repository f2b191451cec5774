"""The report's groups: completions side by side, each token painted by its gradient coefficient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.output.counting import counted
from groupwise.report.markup import Html, element, number

Json = Mapping[str, Any]

OPEN_GROUPS = 4


def groups(rows: Sequence[Json]) -> list[Html]:
    """Returns one folding block a group; open are the first few that pushed any token."""
    pushing = [at for at, row in enumerate(rows) if _largest(row)]
    opened = pushing[:OPEN_GROUPS] or [0]
    return [_group(row, is_open=at in opened) for at, row in enumerate(rows)]


def _largest(row: Json) -> float:
    """The greatest coefficient of a group, by size."""
    return max((abs(c or 0.0) for rollout in row["rollouts"] for c in rollout["coefficients"]), default=0.0)


def _group(row: Json, is_open: bool) -> Html:
    rollouts = sorted(row["rollouts"], key=lambda rollout: -(rollout["reward"] or 0.0))
    largest = _largest(row)
    rewards = [rollout["reward"] for rollout in rollouts]
    known = [reward for reward in rewards if reward is not None]
    mean = number(sum(known) / len(known)) if known else "–"
    title = element(
        "summary",
        element("span", row["prompt"].strip(), class_="prompt"),
        element(
            "span",
            f"{row['stage']}, step {row['step']} · {counted(len(rollouts), 'completion')} · mean reward {mean}",
            class_="muted",
        ),
    )
    legend = _legend(largest) if largest else element("p", "No token of this group was pushed.", class_="note")
    reference = [element("p", f"Reference answer: {row['answer']}", class_="note")] if row.get("answer") else []
    cards = [_card(rollout, count, largest) for rollout, count in _distinct(rollouts)]
    return element(
        "details", title, *reference, legend, element("div", *cards, class_="cards"), class_="group", open=is_open
    )


def _legend(largest: float) -> Html:
    return element(
        "div",
        element("span", f"−{number(largest)} pushed down", class_="muted"),
        element("span", class_="ramp", aria_hidden="true"),
        element("span", f"pushed up +{number(largest)}", class_="muted"),
        element("output", "Point at a token, or use the arrow keys, to read its numbers.", class_="readout"),
        class_="token-legend",
    )


def _distinct(rollouts: Sequence[Json]) -> list[tuple[Json, int]]:
    """Completions that are alike in tokens, reward and advantage are shown once, with their number."""
    counts: dict[tuple[Any, ...], tuple[Json, int]] = {}
    for rollout in rollouts:
        parts = tuple(rollout.get("parts", {}).items())
        key = (tuple(rollout["tokens"]), rollout["reward"], rollout["advantage"], parts, rollout.get("extras"))
        first, count = counts.get(key, (rollout, 0))
        counts[key] = (first, count + 1)
    return list(counts.values())


def _card(rollout: Json, count: int, largest: float) -> Html:
    advantage = rollout["advantage"]
    direction = "up" if (advantage or 0) > 0 else "down" if (advantage or 0) < 0 else ""
    head = element(
        "header",
        element("span", "reward ", element("b", number(rollout["reward"]))),
        element("span", "advantage ", element("b", number(advantage, signed=True), class_=direction)),
        element(
            "span", "finished" if rollout["finished"] else "truncated", class_="" if rollout["finished"] else "warn"
        ),
        *([element("span", f"×{count} alike", class_="muted")] if count > 1 else []),
    )
    tokens = [
        _token(token, coefficient, logprob, largest)
        for token, coefficient, logprob in zip(
            rollout["tokens"], rollout["coefficients"], rollout["logprobs"], strict=True
        )
    ]
    body = element(
        "p", *tokens, class_="tokens", tabindex="0", role="group", aria_label=f"Completion: {rollout['text']}"
    )
    beside = [element("p", rollout["extras"], class_="note")] if rollout.get("extras") else []
    return element("article", head, *_parts(rollout), body, *beside)


def _parts(rollout: Json) -> list[Html]:
    """What each reward added to the sum, times its weight; one that gave no value has a dash."""
    said = [f"{name} {number(value, signed=True)}" for name, value in rollout.get("parts", {}).items()]
    return [element("p", " · ".join(said), class_="note parts")] if said else []


def _token(token: str, coefficient: float | None, logprob: float | None, largest: float) -> Html:
    strength = round(abs(coefficient) / largest, 3) if coefficient and largest else 0
    direction = None if not strength else "up" if (coefficient or 0) > 0 else "down"
    return element(
        "span",
        token.replace("\n", "↵\n"),
        class_=direction,
        style=f"--a:{strength}" if direction else None,
        data_c=number(coefficient, signed=True),
        data_p=number(logprob),
    )
