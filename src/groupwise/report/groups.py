"""The report's groups: completions side by side, each token painted by its gradient coefficient."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from groupwise.output.counting import counted
from groupwise.report.episodes import heard, said, stops
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
    opening = row.get("opening") or []
    count = counted(len(rollouts), "episode" if opening else "completion")
    place = f"{row['stage']}, step {row['step']} · {count} · mean reward {mean}{stops(rollouts)}"
    shown = opening[-1]["text"] if opening else row["prompt"]
    title = element("summary", element("span", shown.strip(), class_="prompt"), element("span", place, class_="muted"))
    legend = _legend(largest) if largest else element("p", "No token of this group was pushed.", class_="note")
    reference = [element("p", f"Reference answer: {row['answer']}", class_="note")] if row.get("answer") else []
    cards = [_card(rollout, count, largest) for rollout, count in _distinct(rollouts)]
    before = [element("div", *map(heard, opening), class_="said before")] if len(opening) > 1 else []
    body = element("div", *cards, class_="cards talks" if opening else "cards")
    return element("details", title, *reference, *before, legend, body, class_="group", open=is_open)


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
        key = (
            tuple(rollout["tokens"]),
            rollout["reward"],
            rollout["advantage"],
            parts,
            rollout.get("extras"),
            rollout.get("stop"),
        )
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
        element("span", _ending(rollout), class_="" if rollout["finished"] else "warn"),
        *([element("span", f"×{count} alike", class_="muted")] if count > 1 else []),
    )
    tokens = [
        _token(token, coefficient, logprob, largest)
        for token, coefficient, logprob in zip(
            rollout["tokens"], rollout["coefficients"], rollout["logprobs"], strict=True
        )
    ]
    if "said" in rollout:
        body = said(rollout["said"], tokens)
    else:
        body = element(
            "p", *tokens, class_="tokens", tabindex="0", role="group", aria_label=f"Completion: {rollout['text']}"
        )
    beside = [element("p", rollout["extras"], class_="note")] if rollout.get("extras") else []
    return element("article", head, *_parts(rollout), body, *beside)


def _ending(rollout: Json) -> str:
    """Why it ended; of an episode also after how many turns of the model's."""
    if "said" not in rollout:
        return "finished" if rollout["finished"] else "truncated"
    turns = counted(sum("tokens" in part for part in rollout["said"]), "turn")
    return f"{turns}, {rollout['stop']}"


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
