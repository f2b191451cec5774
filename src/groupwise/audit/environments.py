"""This module says what an environment does with players: does it reward what it should, hold out, and say the same
twice?

Every row is played by each player, twice, in different processes and with one seed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from groupwise.audit.players import CALLERS, HOSTILE, Player, demonstrator
from groupwise.environments.as_environment import schemas_of
from groupwise.environments.hosts import Worlds
from groupwise.environments.plain import Plain, shortened
from groupwise.rewards.episodes import EpisodeReward
from groupwise.tasks.episode_rows import row_of
from groupwise.types import Example

WAIT_SECONDS = 0.5
SHOWN = 3
"""Examples of each kind."""


@dataclass(frozen=True)
class PlayedEpisode:
    """This is how one episode went."""

    said: list[Plain]
    """All that the environment answered."""
    stop: str
    reward: float | None
    success: bool | None
    """None: the environment gives no reward of its own, and others judge."""

    @property
    def reason(self) -> str:
        """Returns why it has no reward; empty where it has one."""
        return str(self.said[-1].get(self.stop, "")) if self.said else "it never answered"


@dataclass
class PlayerFinding:
    """A finding is about all episodes of one player."""

    kind: str
    should_win: bool
    episodes: int = 0
    won: int = 0
    earned: int = 0
    """Episodes with a reward above 0."""
    stops: Counter[str] = field(default_factory=Counter)
    changing: int = 0
    """Episodes that went otherwise the second time."""
    seconds: float = 0.0
    examples: list[str] = field(default_factory=list)

    def add(self, row: str, first: PlayedEpisode, second: PlayedEpisode) -> None:
        """Counts one row's episode, played twice with the same seed and words, and keeps a line about what is wrong
        with it."""
        self.episodes += 1
        self.won += bool(first.success)
        self.earned += (first.reward or 0.0) > 0
        self.stops[first.stop] += 1
        changed = first.said != second.said
        self.changing += changed
        if first.reason:
            self._show(f"{row}: {first.stop}: {first.reason}")
        if changed:
            turn = next((n for n, (a, b) in enumerate(zip(first.said, second.said, strict=False)) if a != b), "last")
            self._show(f"{row}: with the same seed and words it says something else at turn {turn}")
        if self.should_win and first.success is False and not first.reason:
            self._show(f"{row}: {first.stop}, reward {first.reward}; expected a success")
        if not self.should_win and first.success:
            self._show(f"{row}: won; expected none")

    def _show(self, line: str) -> None:
        if len(self.examples) < SHOWN:
            self.examples.append(line)

    def to_json(self) -> dict[str, Any]:
        """Returns the finding as plain values, which JSON can hold."""
        return asdict(self) | {"stops": dict(self.stops)}


def audit_environment(episodes: EpisodeReward, rows: Sequence[Example], correct_at: float = 1.0) -> list[PlayerFinding]:
    """Returns what every player came to. Rows that show nothing have no demonstrator."""
    findings: dict[str, PlayerFinding] = {}
    worlds = Worlds(episodes.environment, episodes.turns)
    try:
        for place, example in enumerate(rows):
            has_tools = bool(schemas_of(episodes.environment, row_of(example)))
            shown = demonstrator(example)
            own = ((shown, True),) if shown is not None else ()
            for player, wins in (*own, *((each, False) for each in (*HOSTILE, *(CALLERS if has_tools else ())))):
                started = time.perf_counter()
                both = [played(worlds, episodes, example, player, place, correct_at) for _ in range(2)]
                finding = findings.setdefault(player.kind, PlayerFinding(player.kind, wins))
                finding.add(example.id, *both)
                finding.seconds += time.perf_counter() - started
    finally:
        worlds.close()
    return list(findings.values())


def played(
    worlds: Worlds, episodes: EpisodeReward, example: Example, player: Player, seed: int, correct_at: float
) -> PlayedEpisode:
    """Plays one episode, to its end or to the last turn that it may have."""
    tools = [str(each["function"]["name"]) for each in schemas_of(episodes.environment, row_of(example))]
    number, said, earned = worlds.begin(row_of(example), seed), list[Plain](), 0.0
    try:
        for turn in range(episodes.turns.most + 1):
            answer = _answer(worlds, number, episodes.turns.episode_seconds)
            said.append(answer)
            if "says" not in answer:
                return _ended(said, answer, earned, correct_at)
            earned += sum(each.get("reward", 0.0) for each in answer["says"])
            heard = answer["says"][-1]["content"] if answer["says"] else ""
            reply = player.talk(turn, heard, tools) if turn < episodes.turns.most else None
            if reply is None:
                break
            worlds.say(number, reply)
        return PlayedEpisode(said, "turns", earned, False)
    finally:
        worlds.close_episode(number)
        worlds.flush()


def _ended(said: list[Plain], answer: Plain, earned: float, correct_at: float) -> PlayedEpisode:
    if "ends" not in answer:
        return PlayedEpisode(said, next(iter(answer)), None, False)
    value, success = answer["ends"]["value"], answer["ends"].get("success")
    total = None if value is None and not earned else (value or 0.0) + earned
    won = success if success is not None or total is None else total >= correct_at
    return PlayedEpisode(said, "finished", total, won)


def _answer(worlds: Worlds, number: int, seconds: float) -> Plain:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for who, plain, _ in worlds.hear(WAIT_SECONDS):
            if who == number:
                return plain
    return {"timeout": f"no answer within {seconds:g} s"}


def lines_of(findings: Sequence[PlayerFinding]) -> Iterator[str]:
    """A table in words, and what is worth a look."""
    yield f"{'player':<34}{'episodes':>9}{'won':>6}{'earned':>8}{'changing':>10}  stops"
    for each in findings:
        stops = ", ".join(f"{stop} {count}" for stop, count in each.stops.most_common())
        yield f"{each.kind:<34}{each.episodes:>9}{each.won:>6}{each.earned:>8}{each.changing:>10}  {stops}"
    for each in findings:
        for line in each.examples:
            yield f"{each.kind}: {shortened_line(line)}"


def shortened_line(text: str) -> str:
    """Returns a text on one line, at most as long as one can read."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else shortened(line)
