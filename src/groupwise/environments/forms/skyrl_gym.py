"""This module plays environments of SkyRL-gym: ``init(prompt)`` gives messages, ``step(text)`` a dictionary of
observations, reward and done."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from groupwise.environments.plain import earned, number
from groupwise.environments.protocol import Reply, Says, Utterance, beside
from groupwise.errors import UserError


@dataclass(frozen=True)
class SkyRLGym:
    """A text environment of SkyRL-gym's. Each step's reward is the turn's."""

    make: Callable[..., Any]
    """``make(row)`` makes one for each episode: ``lambda row: skyrl_gym.make("gsm8k", extras=row)``; or its class,
    which is given ``env_config={}`` and ``extras=row``."""

    def __call__(self, row: Mapping[str, Any], random: Random) -> Generator[Utterance, Reply, Any]:
        env = self._made(row)
        prompt = _messages(row.get("prompt", ()))
        said, _ = env.init([dict(message) for message in prompt])
        try:
            reply = yield _beyond(list(said), prompt)
            while True:
                out = env.step(str(reply))
                given = out["reward"]
                parts = given if isinstance(given, list | tuple) else [given]
                reward = sum(earned(each, "step(text)") for each in parts)
                if out["done"]:
                    return {"reward": reward, **_metrics(env)}
                reply = yield [Says(each["content"], role=each["role"]) for each in out["observations"][:-1]] + [
                    Says(each["content"], role=each["role"], reward=reward) for each in out["observations"][-1:]
                ] or [Says("", reward=reward)]
        finally:
            if hasattr(env, "close"):
                env.close()

    def _made(self, row: Mapping[str, Any]) -> Any:
        if inspect.isclass(self.make):
            make: Callable[..., Any] = self.make
            return make(env_config={}, extras=dict(row))
        return self.make(row) if inspect.signature(self.make).parameters else self.make()


def by_id(name: str) -> SkyRLGym:
    """The environment that is registered under the id."""
    return SkyRLGym(_Registered(name))


@dataclass(frozen=True)
class _Registered:
    """This makes the environment that SkyRL-Gym knows by an id, for the row that it is called with."""

    name: str

    def __call__(self, row: Mapping[str, Any]) -> Any:
        import skyrl_gym

        try:
            return skyrl_gym.make(self.name, env_config={}, extras=dict(row))
        except skyrl_gym.error.Error as error:
            raise UserError(f"skyrl_gym:{self.name}: {' '.join(str(error).split())}") from error


def _messages(prompt: Any) -> list[dict[str, Any]]:
    if isinstance(prompt, str):
        return [{"role": "user", "content": prompt}]
    return [dict(message) for message in prompt]


def _beyond(said: list[Any], prompt: list[dict[str, Any]]) -> Utterance:
    """What ``init`` says after the prompt. Raises UserError where it changes the prompt, which the model has read."""
    if said[: len(prompt)] != prompt:
        raise UserError("init(prompt) changes the prompt; expected the prompt, and then perhaps further messages")
    return [Says(each["content"], role=each["role"]) for each in said[len(prompt) :]] or None


def _metrics(env: Any) -> dict[str, float]:
    found = env.get_metrics() if hasattr(env, "get_metrics") else {}
    numbers = {str(name): number(value) for name, value in (found or {}).items()}
    return {beside(name, "metrics/"): value for name, value in numbers.items() if value is not None}
