"""This module plays TextArena's games of one player: ``reset(num_players, seed)``, ``get_observation()`` and
``step(text)``."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from groupwise.environments.plain import earned
from groupwise.environments.protocol import Reply, Utterance
from groupwise.errors import UserError

GAME = -1
"""Whom TextArena names as the speaker of what the game says."""


@dataclass(frozen=True)
class TextArena:
    """A game of TextArena's. Its observations repeat all that was said before: the model is told only what is new."""

    make: Callable[[], Any]
    """Makes one for each episode: ``lambda: textarena.make("GuessTheNumber-v0")``."""

    def __call__(self, row: Mapping[str, Any], random: Random) -> Generator[Utterance, Reply, Any]:
        given = row.get("seed")
        seed = given if isinstance(given, int) and not isinstance(given, bool) else random.getrandbits(31)
        env = self.make()
        env.reset(num_players=1, seed=seed)
        _, observation = env.get_observation()
        before = _text(observation)
        reply = yield before.strip()
        over = False
        while not over:
            over, _ = env.step(str(reply))
            observation = None if over else env.get_observation()[1]
            if not over:
                new, before = _news(before, observation, str(reply))
                reply = yield new
        rewards, info = env.close()
        return {"reward": earned((rewards or {}).get(0, 0.0), "close()"), **_invalid(info)}


def by_id(name: str) -> TextArena:
    """The game that is registered under the id. Raises UserError where there is none."""
    import textarena

    known = textarena.envs.registration.ENV_REGISTRY
    if name not in known:
        family = [each for each in known if each.split("-")[0] == name.split("-")[0]]
        raise UserError(
            f"textarena:{name} is no game of TextArena's; "
            + (f"there is {', '.join(family[:6])}" if family else "textarena.envs.registration.ENV_REGISTRY lists all")
        )
    return TextArena(_Registered(name))


@dataclass(frozen=True)
class _Registered:
    """This makes the game that TextArena knows by an id, each time it is called."""

    name: str

    def __call__(self) -> Any:
        import textarena

        return textarena.make(env_id=self.name)


def _news(before: str, observation: Any, said: str) -> tuple[str, str]:
    """What was not said before, and all that has been; the player's own words stand in the conversation already."""
    if not isinstance(observation, str):
        return _text(observation).strip(), before
    new = observation[len(before) :] if observation.startswith(before) else observation
    for own in (f"[Player] {said}", f"[Player] [{said}]"):  # a wrapper may put brackets around a move
        new = new.removeprefix("\n").removeprefix(own)
    return new.strip(), observation


def _text(observation: Any) -> str:
    """An observation as text: a wrapped one is, a raw one is a list of who said what."""
    if isinstance(observation, str):
        return observation
    return "\n".join(str(each[1]) for each in observation if each[0] == GAME)


def _invalid(info: Any) -> dict[str, float]:
    """Says whether the game ended because of a move that it does not allow."""
    told = info.get(0, info) if isinstance(info, Mapping) else {}
    return {"invalid_move": float(bool(told["invalid_move"]))} if "invalid_move" in told else {}
