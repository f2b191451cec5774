"""This module plays agents of OpenRLHF: async ``reset(states)`` and ``step(states)``, which returns rewards and
feedback."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from groupwise.environments.plain import earned, number
from groupwise.environments.protocol import Ended, Reply, Says, Utterance, beside
from groupwise.environments.tool import value_of


@dataclass(frozen=True)
class OpenRLHF:
    """An ``AgentInstanceBase`` of OpenRLHF's. Each step's ``rewards`` are the turn's; numbers of ``extra_logs`` become
    metrics. Its ``environment_feedback`` is said as a user's message: what an author wrote around it for one chat
    template is no part of it, and ``feedback`` takes it away."""

    make: Callable[[], Any]
    feedback: Callable[[str], str] = str.strip

    async def __call__(self, row: Mapping[str, Any], random: Random) -> AsyncGenerator[Utterance | Ended, Reply]:
        agent = self.make()
        prompt = row.get("prompt", "")
        asked = prompt if isinstance(prompt, str) else "\n".join(str(each["content"]) for each in prompt)
        label = row.get("label", row.get("answer"))
        states = await value_of(agent.reset({"observation": asked, "label": label})) or {}
        begun = str(states.get("observation", asked))
        more = begun.removeprefix(asked).strip() if begun.startswith(asked) else begun
        reply = yield more or None
        heard = begun
        while True:
            given = {"observation_text": heard, "action_text": str(reply), "label": label, "sampling_params": None}
            out = await value_of(agent.step(given))
            reward = earned(out["rewards"], "step(states)")
            if out["done"]:
                break
            feedback = str(out["environment_feedback"])
            heard += str(reply) + feedback
            reply = yield Says(self.feedback(feedback), reward=reward)
        numbers = {str(name): number(value) for name, value in (out.get("extra_logs") or {}).items()}
        logs = {beside(name, "extra_logs/"): value for name, value in numbers.items() if value is not None}
        yield Ended({**logs, "reward": reward})
