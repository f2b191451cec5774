"""This module plays environments of Gymnasium: ``reset(seed=)`` gives an observation, ``step(action)`` five values."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from groupwise.environments.forms.spaces import action_of, has_words
from groupwise.environments.plain import WrongWordsError, earned
from groupwise.environments.protocol import Reply, Says, Utterance
from groupwise.errors import UserError

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Gymnasium:
    """A Gymnasium environment as a conversation: states as text, words as actions.

    Each step's reward is the turn's. Words that are no action are answered, and cost a turn.
    """

    make: Callable[[], Any]
    """Makes one for each episode: ``lambda: gymnasium.make("FrozenLake-v1", render_mode="ansi")``."""
    show: Callable[[Any, Any], str] | None = None
    """``show(env, observation)``: what the model reads. None: ``env.render()`` where that is text, else the
    observation."""
    act: Callable[[Any, str], Any] | None = None
    """``act(env, text)``: the action that the model's words mean; it raises ValueError where they mean none. None: of
    a discrete space the last number, of a text space the text, of an array its numbers, of several spaces JSON."""

    def __call__(self, row: Mapping[str, Any], random: Random) -> Generator[Utterance, Reply, Any]:
        env = self.make()
        try:
            self._refuse_wordless(env)
            own = row.get("seed")
            seed = own if isinstance(own, int) and not isinstance(own, bool) else random.getrandbits(31)
            observation, info = _several(env.reset(seed=seed), 2, "reset(seed=)")
            text = self._shown(env, observation)
            reward, over = 0.0, False
            reply = yield text
            while not over:
                try:
                    action = self._action(env, str(reply))
                except ValueError as error:
                    reply = yield f"not an action: {error}"
                    continue
                observation, given, ended, cut, info = _several(env.step(action), 5, "step(action)")
                reward, over = earned(given, "step(action)"), bool(ended or cut)
                text = "" if over else self._shown(env, observation)
                if not over:
                    reply = yield Says(text, reward=reward)
            return {"reward": reward, **_success(info)}
        finally:
            if hasattr(env, "close"):
                env.close()

    def _shown(self, env: Any, observation: Any) -> str:
        if self.show is not None:
            return str(self.show(env, observation))
        picture = env.render() if getattr(env, "render_mode", None) == "ansi" else None
        return without_colours(picture if isinstance(picture, str) else str(observation)).strip()

    def _action(self, env: Any, text: str) -> Any:
        return action_of(env.action_space, text) if self.act is None else self.act(env, text)

    def _refuse_wordless(self, env: Any) -> None:
        """Raises UserError for actions that no words are known for."""
        space: Any = getattr(env, "action_space", None)
        if self.act is None and not has_words(space):
            raise UserError(
                f"the actions of this environment are {space or 'not said'}; give act=, which makes one of the model's "
                "words: gw.environments.Gymnasium(make, act=lambda env, text: ...)"
            )


def without_colours(text: str) -> str:
    """The text without the codes that colour it in a terminal."""
    return _COLOURS.sub("", text)


def by_id(name: str) -> Gymnasium:
    """The environment that is registered under the id, its pictures as text where it has such."""
    import gymnasium

    modes = _metadata(name).get("render_modes") or ()
    return Gymnasium(_Registered(name, "ansi" if "ansi" in modes else None, gymnasium.make))


@dataclass(frozen=True)
class _Registered:
    """This makes the environment that gymnasium knows by an id, each time it is called."""

    name: str
    render_mode: str | None
    build: Callable[..., Any]

    def __call__(self) -> Any:
        return self.build(self.name, render_mode=self.render_mode)


def _metadata(name: str) -> Mapping[str, Any]:
    import gymnasium

    try:
        env = gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise UserError(f"gymnasium:{name}: {' '.join(str(error).split())}") from error
    try:
        return dict(env.metadata)
    finally:
        env.close()


def _success(info: Any) -> dict[str, bool]:
    told = [info[key] for key in ("is_success", "success") if isinstance(info, Mapping) and key in info]
    return {"success": bool(told[0])} if told else {}


def _several(returned: Any, count: int, whose: str) -> Any:
    """Raises WrongWordsError where it is not so many values: environments of the older gym's give fewer."""
    if not isinstance(returned, tuple) or len(returned) != count:
        seen = f"{len(returned)} values" if isinstance(returned, tuple) else f"one value ({type(returned).__name__})"
        raise WrongWordsError(f"{whose} gave {seen}; expected {count}, as Gymnasium has them")
    return returned
