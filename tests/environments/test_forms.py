"""Environments of other systems, played from their own packages where those are installed."""

from __future__ import annotations

import functools
import re
from random import Random
from typing import Any, ClassVar

import numpy
import pytest

from groupwise.environments import Says
from groupwise.environments.as_environment import as_environment, schemas_of
from groupwise.environments.forms.gymnasium import Gymnasium
from groupwise.environments.plain import WrongWordsError
from groupwise.errors import UserError

from .conversation import calling, play, texts

TO_THE_GIFT = ["2", "down: 2", "1", "I go right (2)", "1", "2"]
"""A way over the frozen lake that is always the same and not slippery: left 0, down 1, right 2, up 3."""


def test_gymnasium_s_frozen_lake() -> None:
    gymnasium = pytest.importorskip("gymnasium")

    def make() -> Any:
        return gymnasium.make("FrozenLake-v1", is_slippery=False, render_mode="ansi")

    moves = ["1", "down: 1", "2", "2", "I go down (1)", "2"]
    heard, result = play(as_environment(make), moves)
    assert result == {"reward": 1.0}
    assert len(heard) == 6
    assert all("\x1b" not in text for text in texts(heard))
    assert texts(heard)[0].splitlines()[0] == "SFFF"
    heard, _ = play(as_environment(make), ["north", "7", "1"])
    assert texts(heard)[1] == "not an action: 'north' has no number; expected one from 0 to 3"
    assert texts(heard)[2] == "not an action: 7; expected a number from 0 to 3"
    for form in ("gymnasium:FrozenLake-v1", gymnasium.make("FrozenLake-v1", render_mode="ansi")):
        first, _ = play(as_environment(form), ["1", "1", "1"], seed=3)
        assert first == play(as_environment(form), ["1", "1", "1"], seed=3)[0], "the same from one seed"


def test_gymnasium_with_words_of_one_s_own() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    ways = {"west": 0, "south": 1, "east": 2, "north": 3}

    def act(env: Any, text: str) -> int:
        if text not in ways:
            raise ValueError("say north, east, south or west")
        return ways[text]

    lake = Gymnasium(
        lambda: gymnasium.make("FrozenLake-v1", is_slippery=False),
        show=lambda env, place: f"You are at {place}.",
        act=act,
    )
    heard, result = play(as_environment(lake), ["up", "south", "south", "east", "east", "south", "east"])
    assert texts(heard)[:3] == ["You are at 0.", "not an action: say north, east, south or west", "You are at 4."]
    assert result == {"reward": 1.0}


def test_gymnasium_s_classes_and_rewards_of_a_turn() -> None:
    gymnasium = pytest.importorskip("gymnasium")
    from gymnasium.envs.toy_text.cliffwalking import CliffWalkingEnv

    heard, result = play(as_environment(CliffWalkingEnv), ["0", *["1"] * 11, "2"])
    assert [said[0].reward for said in heard] == [0.0] + [-1.0] * 12
    assert result == {"reward": -1.0}
    assert gymnasium.__version__
    heard, _ = play(as_environment("gymnasium:Pendulum-v1"), ["push", "0.5 and 1", "I push with -1.5", "3"])
    assert texts(heard)[1:3] == [
        "not an action: 'push' has 0 numbers; expected 1, of Box(-2.0, 2.0, (1,), float32)",
        "not an action: '0.5 and 1' has 2 numbers; expected 1, of Box(-2.0, 2.0, (1,), float32)",
    ]
    assert heard[3][0].reward < 0
    assert texts(heard)[4] == "not an action: '[3.0]' is not of Box(-2.0, 2.0, (1,), float32)"
    with pytest.raises(UserError, match=r"gymnasium:FrozenLake-v9: "):
        as_environment("gymnasium:FrozenLake-v9")


class Words:
    """As Gymnasium's spaces of text are."""

    character_set = frozenset("ab")

    def contains(self, text: str) -> bool:
        return bool(text) and set(text) <= self.character_set

    def __repr__(self) -> str:
        return "Text(1, 9, charset=ab)"


class Graph:
    """As one of Gymnasium's spaces that nobody has words for."""

    def __repr__(self) -> str:
        return "Graph(Discrete(2), None)"


class Spelling:
    action_space: Any = Words()

    def reset(self, seed: int | None = None) -> tuple[str, dict[str, Any]]:
        return "spell", {}

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        return action, 1.0, action == "ab", False, {"is_success": True}


def test_gymnasium_s_spaces_of_text_and_of_nothing_that_is_said() -> None:
    heard, result = play(as_environment(Spelling), ["abc", "ab"])
    assert texts(heard) == ["spell", "not an action: 'abc' is not of Text(1, 9, charset=ab)"]
    assert result == {"reward": 1.0, "success": True}
    with pytest.raises(UserError, match=r"the actions of this environment are Graph\(Discrete\(2\), None\); give act="):
        play(as_environment(type("Nodes", (Spelling,), {"action_space": Graph()})), [])


def test_textarena_says_only_what_is_new() -> None:
    pytest.importorskip("textarena")
    game = as_environment("textarena:GuessTheNumber-v0")
    low, high = [1], [20]

    def bisect(text: str) -> str:
        if said and "higher" in text:
            low[0] = said[-1] + 1
        elif said and "lower" in text:
            high[0] = said[-1] - 1
        guess = low[0] + (high[0] - low[0]) // 2
        said.append(guess)
        return f"[{guess}]"

    said: list[int] = []
    heard, result = play(game, bisect, seed=1)
    assert result["reward"] == 1.0
    assert 1 <= len(heard) <= 5
    for text in texts(heard)[1:]:
        assert len(text) < 200
        assert re.search("higher|lower", text)
        assert f"[{said[0]}]" not in text, "its own words are not repeated"
    again, _ = play(game, [f"[{guess}]" for guess in said], seed=1)
    assert again[: len(heard)] == heard
    heard, _ = play(game, ["nonsense"], seed=1)
    assert texts(heard)[1].startswith("[GAME] You attempted an invalid move.")
    secrets = {str(play(game, ["[10]"], seed=seed)[0]) for seed in range(8)}
    assert len(secrets) > 1, "another seed, another number"
    with pytest.raises(UserError, match=r"textarena:GuessTheNumber-v9 is no game .* there is GuessTheNumber-v0"):
        as_environment("textarena:GuessTheNumber-v9")


def test_skyrl_gym_s_gsm8k() -> None:
    skyrl_gym = pytest.importorskip("skyrl_gym")
    row = {"prompt": [{"role": "user", "content": "2+2?"}], "reward_spec": {"ground_truth": "4"}}
    heard, result = play(as_environment("skyrl_gym:gsm8k"), ["It is #### 4"], row)
    assert (heard, result["reward"]) == ([[]], 1.0)
    several = as_environment(lambda row: skyrl_gym.make("gsm8k_multi_turn", extras={**row, "max_turns": 3}))
    heard, result = play(several, ["#### 5", "#### 4"], row)
    assert len(heard) >= 2
    assert heard[1][-1].role == "user"
    assert result["reward"] == 1.0
    with pytest.raises(UserError, match="skyrl_gym:nothing: "):
        play(as_environment("skyrl_gym:nothing"), ["x"], row)


class CounterGame:
    """As TRL documents an environment: state, reset, and public methods that are tools."""

    def reset(self, start: int = 0, **kwargs: Any) -> str | None:
        self.value, self.closed = start, False
        self.secret = __import__("random").randint(0, 10**9)
        return None if start else f"\n\nCount to three. {self.secret}"

    def increment(self, step: int) -> str:
        """Adds to the counter.

        Args:
            step: How much.
        """
        self.value += step
        return f"{self.value}"

    def get_reward(self) -> float:
        return float(self.value == 3)

    def _private(self) -> None: ...

    def close(self) -> None:
        self.closed = True


class Shared(CounterGame):
    """Its tools need no instance."""

    @classmethod
    def name(cls) -> str:
        """Says its name."""
        return cls.__name__

    @staticmethod
    def twice(n: int) -> int:
        """Doubles.

        Args:
            n: A number.
        """
        return 2 * n


class Waiter(CounterGame):
    async def wait(self, seconds: float) -> str:
        """Waits.

        Args:
            seconds: How long.
        """
        return f"{seconds}"

    async def get_reward(self) -> float:  # type: ignore[override]
        return 0.5


class Judge(CounterGame):
    ends: ClassVar[list[int]] = []

    def get_reward(self) -> Any:
        return {"reward": numpy.float32(0.5), "success": self.value > 2, "steps": 2}

    async def close(self) -> None:
        self.ends.append(1)


class Clerk(CounterGame):
    def get_reward(self) -> Any:
        return "good"


def test_trl_s_rewards_may_be_mappings() -> None:
    _, result = play(as_environment(Judge), [calling("increment", step=3), "x"])
    assert {name: result[name] for name in ("reward", "get_reward", "success", "steps")} == {
        "reward": 0.5,
        "get_reward": 0.5,
        "success": True,
        "steps": 2.0,
    }
    assert Judge.ends == [1], "what closes may be asynchronous"
    with pytest.raises(ValueError, match=r"returned 'good' \(str\); expected a number, None, or a mapping"):
        play(as_environment(Clerk), ["x"])


def test_trl_s_classes() -> None:
    game = as_environment(CounterGame)
    assert [schema["function"]["name"] for schema in schemas_of(game, {})] == ["increment"]
    heard, result = play(game, [calling("increment", step=2), calling("decrement"), calling("increment", step=1), "3"])
    assert texts(heard)[0].startswith("\n\nCount to three. ")
    assert texts(heard)[1:] == ["2", "error: there is no tool decrement, perhaps increment; there is increment", "3"]
    assert result == {"tools/calls": 3, "tools/failed": 1, "tools/malformed": 0, "get_reward": 1.0, "reward": 1.0}
    assert play(game, ["3"], {"start": 3, "other": 1})[0] == [[]], "columns go to reset by name"
    same = {texts(play(game, ["x"], seed=seed)[0])[0] for seed in (1, 1, 1)}
    assert len(same) == 1, "a secret of the game's own is the same for a whole group"
    assert texts(play(game, ["x"], seed=2)[0])[0] not in same
    shared = as_environment(Shared)
    assert [schema["function"]["name"] for schema in schemas_of(shared, {})] == ["increment", "name", "twice"]
    assert texts(play(shared, [calling("name"), calling("twice", n=4), "x"])[0])[1:] == ["Shared", "8"]
    assert play(as_environment(Waiter), [calling("wait", seconds=0.0), "x"])[1]["reward"] == 0.5
    assert play(as_environment(lambda: CounterGame()), [calling("increment", step=3), "x"])[1]["reward"] == 1.0


def score(given: Any, environments: list[Any]) -> Any:
    return given


def test_trl_s_environments_by_name_and_rewards_that_ask_for_them() -> None:
    def close_to_five(environments: list[Any], completions: list[Any], start: list[int], **columns: Any) -> list[float]:
        (conversation,) = completions
        assert [message["role"] for message in conversation] == ["assistant", "tool", "assistant"]
        return [5.0 - abs(environment.value - 5) for environment in environments]

    both = as_environment({"count": CounterGame, "wait": Waiter}, rewards=[close_to_five])
    assert len(schemas_of(both, {"environment": "count"})) == 1
    assert len(schemas_of(both, {"environment": "wait"})) == 2
    row = {"environment": "count", "start": 1}
    heard, result = play(both, [calling("increment", step=2), "3"], row)
    assert (texts(heard), result["close_to_five"], result["reward"]) == (["3"], 3.0, 4.0)
    with pytest.raises(ValueError, match=r"^the reward score gave 1.0; expected a list of one$"):
        play(as_environment(CounterGame, rewards=[functools.partial(score, 1.0)]), ["x"])
    _, result = play(as_environment(CounterGame, rewards=[functools.partial(score, [0.5])]), ["x"])
    assert (result["rewards/score"], result["reward"]) == (0.5, 0.5), "a reward's own name says nothing of the sum"
    with pytest.raises(UserError, match=r"the row's column environment is 'chess'; expected one of count, wait"):
        play(both, ["x"], {"environment": "chess"})
    with pytest.raises(UserError, match="reward 'close_to_five' asks for environments"):
        as_environment("ws://localhost:1", rewards=[close_to_five])


class Guesser:
    """As OpenRLHF's AgentInstanceBase."""

    async def reset(self, states: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        self.left = 2
        return {"observation": states["observation"] + "\nGuess."}

    async def step(self, states: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        import torch

        self.left -= 1
        right = states["action_text"] == states["label"]
        return {
            "rewards": torch.tensor(float(right)),
            "scores": torch.tensor(float(right)),
            "environment_feedback": "\n\nHuman: no\nAssistant: ",
            "done": right or not self.left,
            "extra_logs": {"tries": 2 - self.left, "said": states["observation_text"]},
        }


def test_openrlhf_s_agents() -> None:
    from groupwise.environments.forms.openrlhf import OpenRLHF

    row = {"prompt": "A number?", "answer": "4"}
    heard, result = play(as_environment(Guesser), ["5", "4"], row)
    assert heard == [[Says("Guess.")], [Says("Human: no\nAssistant:", reward=0.0)]]
    assert result == {"reward": 1.0, "tries": 2.0}
    plain = OpenRLHF(Guesser, feedback=lambda text: text.split("Human: ")[1].split("\n")[0])
    assert texts(play(plain, ["5", "4"], row)[0]) == ["Guess.", "no"]


def counts(row: Any, random: Random) -> Any:
    said = yield f"{random.randint(0, 9)}"
    reply = yield f"{said}, {row['n']}"
    return float(reply == "4")


async def counts_async(row: Any, random: Random) -> Any:
    from groupwise.environments import Ended

    said = yield f"{random.randint(0, 9)}"
    reply = yield f"{said}, {row['n']}"
    yield Ended(float(reply == "4"))


def double(n: int) -> int:
    """Doubles.

    Args:
        n: A number.
    """
    return 2 * n


class Step:
    """Steps of three systems, each with the reward and the numbers that a test gives."""

    given: ClassVar[Any] = None

    def __init__(self, env_config: Any = None, extras: Any = None) -> None:
        self.numbers = {"score": 7, "success": 0.3, "turns": 2}

    def get_metrics(self) -> dict[str, float]:
        return self.numbers


class GymnasiumStep(Step):
    action_space = None

    def reset(self, seed: int | None = None) -> Any:
        return "begin", {}

    def step(self, action: Any) -> Any:
        return self.given if isinstance(self.given, tuple) else ("next", self.given, True, False, {})


class SkyRLStep(Step):
    def init(self, prompt: Any) -> Any:
        return prompt, {}

    def step(self, text: str) -> Any:
        return {"observations": [], "reward": self.given, "done": True, "metadata": {}}


class OpenRLHFStep(Step):
    async def reset(self, states: Any) -> Any:
        return {"observation": "begin"}

    async def step(self, states: Any) -> Any:
        return {"rewards": self.given, "environment_feedback": "", "done": True, "extra_logs": self.numbers}


STEPS: dict[str, Any] = {
    "step(action)": Gymnasium(GymnasiumStep, act=lambda env, text: text),
    "step(text)": as_environment(SkyRLStep),
    "step(states)": as_environment(OpenRLHFStep),
}


@pytest.mark.parametrize("reward", ["1.0", None, float("nan"), {"score": 1}])
@pytest.mark.parametrize("whose", STEPS)
def test_a_step_s_reward_that_is_no_number_is_said_with_who_gave_it(
    whose: str, reward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Step, "given", reward)
    with pytest.raises(WrongWordsError, match=rf"^{re.escape(whose)} gave the reward .*; expected a finite number$"):
        play(STEPS[whose], ["x"])


@pytest.mark.parametrize("whose", STEPS)
def test_a_step_s_reward_stays_whatever_else_is_told(whose: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers of an environment's own that are called ``score`` or ``success`` say nothing of how good it was."""
    monkeypatch.setattr(Step, "given", numpy.float32(0.5))
    _, result = play(STEPS[whose], ["x"])
    assert (result["reward"], "score" in result, "success" in result) == (0.5, False, False)
    assert result.get("turns", 2) == 2


def test_an_environment_of_the_older_gym_s_is_told_from_one_of_gymnasium_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Step, "given", ("next", 1.0, True, {}))
    with pytest.raises(WrongWordsError, match=r"^step\(action\) gave 4 values; expected 5, as Gymnasium has them$"):
        play(STEPS["step(action)"], ["x"])


class Licensed(CounterGame):
    def __init__(self, key: str) -> None:
        raise RuntimeError("no licence")


@pytest.mark.parametrize("given", [Licensed, lambda: Licensed("x"), {"one": Licensed}])
def test_an_environment_that_cannot_be_made_is_one_line_where_its_tools_are_asked_for(given: Any) -> None:
    with pytest.raises(UserError, match=r"^the environment.* cannot be made, which says what a model may call: raised"):
        schemas_of(as_environment(given), {"environment": "one"})


@pytest.mark.parametrize("form", [counts, counts_async])
def test_generators_and_generators_with_tools(form: Any) -> None:
    assert as_environment(form) is form
    heard, result = play(as_environment(form), ["x", "4"], {"n": 2}, seed=1)
    assert (texts(heard), result) == (["2", "x, 2"], 1.0)
    both = as_environment(form, tools=[double])
    assert [schema["function"]["name"] for schema in schemas_of(both, {})] == ["double"]
    heard, result = play(both, [calling("double", n=3), "x", calling("double", n=2), "4"], {"n": 2}, seed=1)
    assert texts(heard) == ["2", "6", "x, 2", "4"]
    assert result == {"tools/calls": 2, "tools/failed": 0, "tools/malformed": 0, "reward": 1.0}
    assert schemas_of(form, {}) == []


class Lone:
    def play(self) -> None: ...


class Stepper:
    def reset(self, seed: int | None = None) -> tuple[int, dict[str, Any]]:
        return 0, {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 1, 1.0, True, False, {}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (None, "no environment and no tools; expected a generator function"),
        (Lone, "the class Lone is no environment; expected a generator function"),
        (Lone(), "an environment is Lone .*; expected a generator function"),
        (Stepper(), r"the environment is one Stepper, and every episode needs its own; .*lambda: Stepper\(...\)"),
        ("FrozenLake-v1", "the environment 'FrozenLake-v1' is unknown; expected .*gymnasium:FrozenLake-v1"),
        ("chess:1", "the environment 'chess:1' is unknown"),
        (3, "an environment is int '3'"),
        ({}, "an environment is an empty mapping; expected a class by each name"),
        ({"a": 3}, "the environment a is int; expected a class by each name"),
    ],
)
def test_what_is_no_environment(given: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        as_environment(given)


def test_a_generator_that_takes_other_things() -> None:
    def lonely() -> Any:
        yield "x"

    with pytest.raises(UserError, match=r"the environment lonely\(\) .*cannot be called with a row and a random"):
        as_environment(lonely)


def test_what_a_function_makes_is_seen_when_it_has_made_it() -> None:
    with pytest.raises(UserError, match="makes no environment; expected"):
        play(as_environment(lambda: Lone()), ["x"])
    with pytest.raises(UserError, match="the actions of this environment are not said; give act="):
        play(as_environment(lambda: Stepper()), ["x"])
    stepper = Gymnasium(Stepper, act=lambda env, text: int(text))
    assert play(stepper, ["1"]) == ([[Says("0")]], {"reward": 1.0})
