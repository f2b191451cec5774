"""Tools: what goes well, and whatever goes wrong with a call is answered and counted."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Awaitable, Generator
from datetime import date
from random import Random
from types import MappingProxyType, SimpleNamespace
from typing import Any

import numpy
import pytest
import torch

from groupwise.environments import Call, Ended, Reply, Says
from groupwise.environments.as_environment import as_environment
from groupwise.environments.plain import WrongWordsError
from groupwise.environments.tools import Tools
from groupwise.errors import UserError

from .conversation import calling, play, texts


def calculate(expression: str) -> str:
    """Evaluates a product.

    Args:
        expression: Two numbers and a star, such as 12*34.
    """
    left, right = expression.split("*")
    return str(int(left) * int(right))


async def wait(seconds: float) -> float:
    """Waits.

    Args:
        seconds: How long.
    """
    await asyncio.sleep(seconds)
    return seconds


def submit(answer: int) -> Ended:
    """Ends the episode.

    Args:
        answer: The answer.
    """
    return Ended({"score": float(answer == 42), "success": answer == 42})


COUNTS = {"tools/calls": 0, "tools/failed": 0, "tools/malformed": 0}


def test_a_call_is_run_and_a_turn_without_one_ends_the_episode() -> None:
    heard, result = play(Tools([calculate]), [calling("calculate", expression="3*4"), "12"])
    assert heard == [[], [Says("12", role="tool", name="calculate")]]
    assert result == {**COUNTS, "tools/calls": 1}


def test_no_call_at_all() -> None:
    assert play(Tools([calculate]), ["12"]) == ([[]], COUNTS)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (calling("calculat"), "there is no tool calculat, perhaps calculate; there is calculate, wait"),
        (calling("rm -rf\n/"), "there is no tool rm -rf /; there is calculate, wait"),
        (calling("x" * 500), "there is no tool " + "x" * 60 + " ... " + "x" * 15),
        (calling("calculate"), "calculate: the argument expression is missing"),
        (calling("calculate", expression=3), "calculate: the argument expression is '3' (integer); expected a string"),
        (calling("calculate", expression="1*1", n=2), "calculate: there is no argument n; there is expression"),
        (calling("wait", seconds="1"), "wait: the argument seconds is '1' (string); expected a number"),
        (calling("calculate", expression="a*b"), "calculate failed: ValueError: invalid literal for int()"),
        (Reply("<tool_call>", (), "it is no JSON"), "the call cannot be read: it is no JSON"),
    ],
)
def test_what_goes_wrong_is_answered_and_counted(reply: Reply, said: str) -> None:
    heard, result = play(Tools([calculate, wait]), [reply, "sorry"])
    ((answer,),) = heard[1:]
    assert answer.role == "tool"
    assert answer.text.startswith(f"error: {said}")
    kind = "tools/malformed" if reply.malformed else "tools/failed"
    assert result[kind] == 1
    assert result["tools/calls"] == len(reply.calls)


def test_a_hundred_calls_in_a_turn() -> None:
    turn = Reply("many", [Call("calculate", {"expression": "2*3"})] * 100)
    heard, result = play(Tools([calculate], max_parallel_calls=3), [turn, "6"])
    assert texts(heard) == ["6", "6", "6", "error: 97 more calls were not run: at most 3 in a turn"]
    assert (result["tools/calls"], result["tools/failed"]) == (100, 97)


def returns(value: Any) -> Any:
    def tool() -> Any:
        """Returns something."""
        return value

    return tool


class Shy:
    pass


class Response:
    def __init__(self, text: str | None, image: list[Any] | None = None) -> None:
        self.text, self.image, self.video = text, image, None


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("four", "four"),
        ("", "(no result)"),
        (None, "(no result)"),
        (True, "true"),
        (4.5, "4.5"),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ((1, 2), "[1, 2]"),
        ({3, 1, 2}, "[1, 2, 3]"),
        (b"four", "four"),
        (b"\xff\xfe", "(2 bytes that are no text)"),
        ("a\ud800b", "a?b"),
        ([{"type": "text", "text": "four"}, {"type": "image", "image": 1}], "four\n(image that cannot be shown)"),
        ([{"type": "book", "title": "x"}], '[{"type": "book", "title": "x"}]'),
        ({"type": "text", "text": "four"}, "four"),
        ({"type": "image", "image": 1}, '{"type": "image", "image": 1}'),
        ({"type": "image", "data": "iVBORw0K", "mimeType": "image/png"}, "(image that cannot be shown)"),
        ({"type": "image_url", "image_url": {"url": "data:,"}}, "(image_url that cannot be shown)"),
        ({"type": "text", "source": "a wiki"}, '{"type": "text", "source": "a wiki"}'),
        ({"type": "text", "text": "x", "data": "y"}, '{"type": "text", "text": "x", "data": "y"}'),
        ({"type": "resource", "data": {"wood": 3}}, '{"type": "resource", "data": {"wood": 3}}'),
        ({"type": "image", "source": "a.png", "of": "cats"}, '{"type": "image", "source": "a.png", "of": "cats"}'),
        (SimpleNamespace(text="four"), "four"),
        (memoryview(b"four"), "four"),
        (date(2026, 11, 30), "2026-11-30"),
        ([date(2026, 11, 30)], '["2026-11-30"]'),
        (MappingProxyType({"a": range(2)}), '{"a": [0, 1]}'),
        (deque([1, {"a": 2}.values()]), "[1, [2]]"),
        (numpy.array([1.5]), "[1.5]"),
        (torch.tensor(3), "3"),
        (Response("four", [1]), "four\n(image that cannot be shown)"),
        ("</tool_call><|end|>", "</tool_call><|end|>"),
    ],
)
def test_whatever_is_returned_is_text(value: Any, said: str) -> None:
    heard, result = play(Tools([returns(value)]), [calling("tool"), "so"])
    assert texts(heard) == [said]
    assert result["tools/failed"] == 0


def letters() -> Generator[str, None, None]:
    """Yields letters."""
    yield "a"


class Broken(dict[str, int]):
    def items(self) -> Any:
        raise RuntimeError("not to be read")


class Mute:
    @property
    def text(self) -> str:
        raise RuntimeError("no words")


class Picture:
    """Says where in memory it lies, which is another place each time."""

    def __repr__(self) -> str:
        return f"<Picture of 3 x 3 at {hex(id(self))}>"


@pytest.mark.parametrize(
    "value",
    [Shy(), {"a": Shy()}, Picture(), [Picture()], len, Shy, object(), Broken(a=1), Mute(), ("a", 1, Broken(a=1))],
)
def test_what_has_no_text_has_failed(value: Any) -> None:
    heard, result = play(Tools([returns(value)]), [calling("tool"), "so"])
    assert texts(heard)[0].startswith("error: the tool returned what cannot be shown")
    assert result["tools/failed"] == 1


def test_a_generator_is_no_result() -> None:
    heard, _ = play(Tools([letters]), [calling("letters"), "so"])
    assert texts(heard) == ["error: letters failed: it returned a generator"]


def test_a_result_of_ten_megabytes_keeps_head_and_tail() -> None:
    text = "head" + "x" * 10_000_000 + "tail"
    heard, _ = play(Tools([returns(text)], result_characters=100), [calling("tool"), "so"])
    (said,) = texts(heard)
    assert said.startswith("head")
    assert said.endswith("tail")
    assert "... (9,999,908 of 10,000,008 characters left out) ..." in said
    assert len(said) < 200


def leaves() -> str:
    """Leaves the program."""
    raise SystemExit(3)


def test_a_tool_that_leaves_has_failed() -> None:
    heard, _ = play(Tools([leaves]), [calling("leaves"), "so"])
    assert texts(heard) == ["error: leaves failed: SystemExit: 3"]


def test_a_tool_ends_the_episode() -> None:
    turn = Reply("x", [Call("submit", {"answer": 42}), Call("calculate", {"expression": "1*1"})])
    said = {**COUNTS, "tools/calls": 2, "score": 1.0, "success": True}
    assert play(Tools([submit, calculate]), [turn]) == ([[]], said)
    heard, result = play(Tools([returns(Ended())]), [calling("tool")])
    assert (heard, result) == ([[]], {**COUNTS, "tools/calls": 1})


def test_verl_s_returns_carry_a_reward_and_numbers() -> None:
    tools = Tools([returns(("four", 0.5, {"steps": 2, "note": "x"}))])
    heard, result = play(tools, [calling("tool"), calling("tool"), "so"])
    assert [said[0].reward for said in heard[1:]] == [0.5, 0.5]
    assert texts(heard) == ["four", "four"]
    assert result == {**COUNTS, "tools/calls": 2, "steps": 4.0}
    heard, _ = play(Tools([returns(({"a": 1}, None))]), [calling("tool"), "so"])
    assert texts(heard) == ['{"a": 1}']
    heard, _ = play(Tools([returns(Says("four", reward=1.0))]), [calling("tool"), "so"])
    assert (texts(heard), heard[1][0].reward) == (["four"], 1.0)


def test_numbers_of_tools_never_say_how_good_an_episode_was() -> None:
    """Of whatever name they are: the sum of two calls' ``success`` is no verdict, and no ``score`` is the reward."""
    numbers = {"success": 1, "score": 0.5, "reward": 3}
    _, result = play(Tools([returns(("four", 0.5, numbers))]), [calling("tool"), calling("tool"), "so"])
    assert result == {**COUNTS, "tools/calls": 2, "tools/success": 2.0, "tools/score": 1.0, "tools/reward": 6.0}


@pytest.mark.parametrize("reward", [numpy.float32(0.5), torch.tensor(0.5), numpy.array(0.5)])
def test_a_reward_may_be_a_scalar_of_numpy_s_or_torch_s(reward: Any) -> None:
    heard, result = play(Tools([returns(("four", reward, {"steps": numpy.int64(2)}))]), [calling("tool"), "so"])
    assert (texts(heard), heard[1][0].reward, result["steps"]) == (["four"], 0.5, 2.0)


def deferred(seconds: float) -> Awaitable[float]:
    """Waits, and does not say so.

    Args:
        seconds: How long.
    """
    return wait(seconds)


def test_what_waits_and_is_no_async_function_is_answered() -> None:
    heard, result = play(Tools([deferred]), [calling("deferred", seconds=0), "so"])
    said = "error: deferred failed: RuntimeError: it waits for something, but is no async function; write async def"
    assert texts(heard) == [said]
    assert result["tools/failed"] == 1


def test_asynchronous_tools_of_a_turn_run_side_by_side_and_answer_in_order() -> None:
    turn = Reply("x", [Call("wait", {"seconds": 0.05}), Call("calculate", {"expression": "2*3"}), Call("wait", {})])
    heard, result = play(Tools([calculate, wait]), [turn, "so"])
    assert texts(heard) == ["0.05", "6", "error: wait: the argument seconds is missing"]
    assert result["tools/calls"] == 3


class Counter:
    """In the form of verl's BaseTool."""

    def __init__(self) -> None:
        self.state: dict[str, list[int]] = {}
        self.released: list[str] = []
        self.tool_schema = {
            "type": "function",
            "function": {
                "name": "add",
                "description": "Adds.",
                "parameters": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            },
        }

    async def create(self, instance_id: str | None = None, start: int = 0, **kwargs: Any) -> tuple[str, Any]:
        name = str(len(self.state))
        self.state[name] = [start]
        return name, Response(None)

    async def execute(self, instance_id: str, parameters: dict[str, Any], **kwargs: Any) -> tuple[Any, float, dict]:
        self.state[instance_id].append(parameters["n"])
        return Response(str(sum(self.state[instance_id]))), 0.25, {"sum": parameters["n"]}

    async def calc_reward(self, instance_id: str, **kwargs: Any) -> float:
        return float(sum(self.state[instance_id]))

    async def release(self, instance_id: str, **kwargs: Any) -> None:
        self.released.append(instance_id)


def test_a_tool_of_verl_s_lives_as_long_as_an_episode() -> None:
    counter = Counter()
    row = {"extra_info": {"tools_kwargs": {"add": {"create_kwargs": {"start": 10}}}}}
    heard, result = play(Tools([counter]), [calling("add", n=1), calling("add", n=2), "13"], row)
    assert texts(heard) == ["11", "13"]
    assert result == {**COUNTS, "tools/calls": 2, "sum": 3.0, "reward": 13.0}
    assert counter.released == ["0"]
    play(Tools([counter]), [calling("add", n=1)], {"extra_info": json.dumps(row["extra_info"])})
    assert counter.state["1"] == [10, 1]
    assert counter.released == ["0", "1"], "an episode that breaks off lets it go, too"


class Judge:
    """Two tools of this kind, of which one says anything as its reward."""

    def __init__(self, name: str, reward: Any) -> None:
        self.reward, self.is_released = reward, False
        self.tool_schema = {"type": "function", "function": {"name": name, "parameters": {}}}

    async def execute(self, instance_id: str, parameters: dict[str, Any]) -> str:
        return "done"

    async def calc_reward(self, instance_id: str) -> Any:
        return self.reward

    async def release(self, instance_id: str) -> None:
        self.is_released = True


@pytest.mark.parametrize("reward", ["much", {"score": 1}, [1], float("nan")])
def test_a_reward_that_is_none_is_said_with_its_tool_and_all_are_released(reward: Any) -> None:
    tools = [Judge("first", reward), Judge("second", 0.5)]
    with pytest.raises(
        WrongWordsError, match=r"^the tool first gave the episode the reward .*; expected a finite numb"
    ):
        play(Tools(tools), [calling("first"), calling("second"), "so"])
    assert all(tool.is_released for tool in tools)


def test_an_environment_is_closed_whatever_its_tools_say_in_the_end() -> None:
    seen: list[str] = []

    async def counts(row: Any, random: Any) -> Any:
        try:
            while True:
                yield "go on"
        finally:
            await asyncio.sleep(0)
            seen.append("closed")

    async def begun_and_left() -> None:
        talk: Any = as_environment(counts, tools=[Judge("judge", "much")])({}, Random(0))
        await talk.asend(None)
        await talk.asend(calling("judge"))
        with pytest.raises(WrongWordsError, match="the tool judge gave"):
            await talk.aclose()
        assert seen == ["closed"]

    asyncio.run(begun_and_left())


def test_what_ends_an_episode_goes_before_what_tools_earned_in_it() -> None:
    judge = Judge("judge", 0.5)
    _, result = play(Tools([judge, submit]), [calling("judge"), calling("submit", answer=42)])
    assert (result["score"], result["tools/calls"], "reward" in result) == (1.0, 2, False)
    _, result = play(Tools([judge, returns(Ended())]), [calling("judge"), calling("tool")])
    assert result["reward"] == 0.5


def test_a_row_selects_tools() -> None:
    tools = Tools([calculate, wait])
    row = {"extra_info": {"tool_selection": ["calculate"]}}
    assert [schema["function"]["name"] for schema in tools.schemas(row)] == ["calculate"]
    assert len(tools.schemas({})) == 2
    heard, _ = play(tools, [calling("wait", seconds=0.0), "so"], row)
    assert texts(heard) == ["error: there is no tool wait; there is calculate"]
    with pytest.raises(UserError, match=r"tool_selection names search; the task's tools are calculate, wait"):
        tools.schemas({"tool_selection": ["search"]})
    for wrong in (3, [3], [["wait"]], True, float("nan")):
        with pytest.raises(UserError, match=r"tool_selection holds .*; expected the names of tools"):
            tools.schemas({"tool_selection": wrong})
    for names in ("wait", numpy.array(["wait"]), '["wait"]', ("wait",)):  # as files and their readers have them
        assert [schema["function"]["name"] for schema in tools.schemas({"tool_selection": names})] == ["wait"]
    for names in ([], "", None, numpy.array([])):
        assert len(tools.schemas({"tool_selection": names})) == 2


def undocumented(n: int) -> int:
    """Doubles."""
    return 2 * n


def untyped(n) -> int:  # type: ignore[no-untyped-def]
    """Doubles.

    Args:
        n: A number.
    """
    return 2 * n


def open_ended(*numbers: int) -> int:
    """Sums.

    Args:
        numbers: Numbers.
    """
    return sum(numbers)


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([undocumented], "tool undocumented: .* no description for the argument 'n'; expected a type hint"),
        ([untyped], "tool untyped: Argument n is missing a type hint"),
        ([open_ended], "tool open_ended: the parameter numbers stands for any number"),
        ([lambda n: n], "tool lambda: .* no docstring"),
        ([calculate, calculate], "two tools are called calculate"),
        ([Counter], "tool Counter is a class; a class with reset"),
        (["search"], "a tool is str 'search'; expected a plain function"),
        (calculate, "tools is function; expected a list"),
        ([SimpleNamespace(execute=print, tool_schema={"name": "a b"})], "its name is 'a b'; expected at most 64"),
    ],
)
def test_what_is_no_tool_is_an_error(tools: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        Tools(tools)


def test_limits_are_numbers_above_nothing() -> None:
    with pytest.raises(UserError, match="at least 1"):
        Tools([calculate], max_parallel_calls=0)
