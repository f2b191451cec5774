"""vLLM servers that say what cannot be: nothing of it reaches a learner, and what it should have been is not lost."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from served import REQUESTS, SAMPLING, Found, Place, drawn, same

from groupwise.engines.vllm_client import seconds_of
from groupwise.engines.vllm_servers import is_whole
from groupwise.errors import UserError

Choice = dict[str, Any]
FEW = 3
"""Requests, of four completions each."""


def of(**other: Any) -> Callable[[Choice], Choice]:
    return lambda choice: choice | other


def said(change: Callable[[list[float]], list[Any]]) -> Callable[[Choice], Choice]:
    """Other log-probabilities."""

    def spoil(choice: Choice) -> Choice:
        numbers = [each["logprob"] for each in choice["logprobs"]["content"]]
        return choice | {"logprobs": {"content": [{"logprob": each} for each in change(numbers)]}}

    return spoil


SPOILT: dict[str, Callable[[Choice], Any]] = {
    "half a JSON": lambda choice: json.dumps({"choices": [choice]})[:-20],
    "a page": lambda choice: "<html>502 Bad Gateway</html>",
    "nothing": lambda choice: "",
    "a number": lambda choice: "7",
    "a list": lambda choice: "[[]]",
    "no choice": lambda choice: '{"choices": []}',
    "no ids": of(token_ids=None),
    "a token too few": lambda choice: choice | {"token_ids": choice["token_ids"][:-1]},
    "a token beyond the vocabulary": lambda choice: choice | {"token_ids": [10**6, *choice["token_ids"][1:]]},
    "a token below 0": lambda choice: choice | {"token_ids": [-1, *choice["token_ids"][1:]]},
    "words for tokens": lambda choice: choice | {"token_ids": ["a" for _ in choice["token_ids"]]},
    "no log-probabilities": of(logprobs=None),
    "a log-probability above 0": said(lambda numbers: [0.5, *numbers[1:]]),
    "an infinite one": said(lambda numbers: [float("-inf"), *numbers[1:]]),
    "none for a token": said(lambda numbers: [None, *numbers[1:]]),
    "a truth for a number": said(lambda numbers: [False, *numbers[1:]]),
    "an end that is none": of(finish_reason=None),
    "an end by force": of(finish_reason="abort"),
    "twice as many tokens": lambda choice: (
        choice
        | {
            "token_ids": choice["token_ids"] * 12,
            "logprobs": {"content": choice["logprobs"]["content"] * 12},
        }
    ),
    "fewer than asked for, and not at an end": lambda choice: (
        choice
        | {
            "token_ids": choice["token_ids"][:1],
            "logprobs": {"content": choice["logprobs"]["content"][:1]},
            "finish_reason": "length",
        }
    ),
    "not a number": said(lambda numbers: [float("nan"), *numbers[1:]]),
    "no log-probability, as vLLM writes it": said(lambda numbers: [-9999.0, *numbers[1:]]),
    "a number of 400 digits": said(lambda numbers: [-(10**400), *numbers[1:]]),
    "log-probabilities of other tokens": lambda choice: (
        choice
        | {
            "logprobs": {
                "content": [
                    {"logprob": each["logprob"], "token": f"token_id:{token + 1}"}
                    for each, token in zip(choice["logprobs"]["content"], choice["token_ids"], strict=True)
                ]
            }
        }
    ),
    "two choices": lambda choice: json.dumps({"choices": [choice, choice]}),
    "a choice that is a list": lambda choice: json.dumps({"choices": [[choice]]}),
    "an end without a token that ends": lambda choice: (
        choice
        | {
            "token_ids": [4, 5],
            "logprobs": {"content": choice["logprobs"]["content"][:1] * 2},
            "finish_reason": "stop",
        }
    ),
    "tokens behind the end": lambda choice: (
        choice
        if choice["finish_reason"] != "stop"
        else choice
        | {
            "token_ids": [*choice["token_ids"], 7][:12],
            "logprobs": {"content": [*choice["logprobs"]["content"], {"logprob": -1.0}][:12]},
        }
    ),
    "spans that are none": of(weight_versions=[{"version": "1"}]),
    "spans that are a word": of(weight_versions="1"),
    "a span without an end": of(weight_versions=[{"version": "1", "start": 0, "end": None}]),
    "a version in other digits": of(weight_versions=[{"version": "²", "start": 0, "end": 400}]),
    "weights that nobody gave": of(weight_versions=[{"version": "99", "start": 0, "end": 400}]),
    "no weights, as servers before 0.32": of(weight_versions=[]),
}
ROUTES = ["/pause", "/collective_rpc", "/reset_prefix_cache", "/update_weight_version", "/resume"]


@pytest.mark.parametrize("name", SPOILT)
def test_one_answer_in_three_is_spoilt(place: Place, expected: Found, name: str) -> None:
    """Of one of two servers: what is drawn is what an engine without faults draws."""
    bad, _ = place.serve(), place.serve()
    engine = place.loaded(concurrent=6)
    bad.faults.spoils, bad.faults.spoils_every = SPOILT[name], 3
    same(drawn(engine, FEW), expected, FEW)
    assert bad.begun > 3
    assert place.notes == []


@pytest.mark.parametrize("end", [0, -3])
def test_weights_that_drew_nothing_are_not_those_of_a_completion(place: Place, expected: Found, end: int) -> None:
    """Such as those that a server had when a request came, and no more when its first token was drawn."""
    server = place.serve()
    engine = place.loaded()
    engine.known.add(9)
    nothing = {"version": "9", "start": 0, "end": end}
    server.faults.spoils = lambda choice: choice | {"weight_versions": [nothing, *choice["weight_versions"]]}
    server.faults.spoils_every = 1
    same(drawn(engine, FEW), expected, FEW)


@pytest.mark.parametrize("name", ["half a JSON", "a page", "no ids", "an infinite one", "an end by force"])
def test_every_answer_is_spoilt(place: Place, name: str) -> None:
    """The run ends with one line."""
    bad = place.serve()
    engine = place.loaded(attempts=2, concurrent=1)
    bad.faults.spoils, bad.faults.spoils_every = SPOILT[name], 1
    with pytest.raises(UserError, match=rf"a completion failed 2 times, the last with: {bad.url}") as seen:
        drawn(engine, 1)
    assert "\n" not in str(seen.value)


def test_weights_that_are_accepted_and_not_taken(place: Place, model: Any) -> None:
    """A server that goes on with its old weights is told by the probe; so is one of two."""
    place.serve()
    other = place.serve()
    engine = place.loaded(1)
    other.faults.forgets = True
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    try:
        for weight in model.parameters():
            weight.mul_(1.2)
        with pytest.raises(UserError, match=rf"after version 2 was loaded {other.url} and the learner are"):
            engine.load(model.named_parameters(), 2)
    finally:
        for name, weight in model.named_parameters():
            weight.copy_(before[name])


@pytest.mark.parametrize("status", [302, 401, 404])
def test_a_server_that_refuses_later_ends_the_run_with_its_words(place: Place, status: int) -> None:
    server = place.serve()
    engine = place.loaded()
    server.faults.refuses["/inference/v1/generate"] = (status, "http://127.0.0.1:9/other")
    with pytest.raises(UserError, match=rf"answered {status}: http://127\.0\.0\.1:9/other") as seen:
        drawn(engine)
    assert "\n" not in str(seen.value)
    assert server.begun < 20, "it is not followed, nor asked for ever"


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_server_that_is_busy_is_asked_again(place: Place, expected: Found, status: int) -> None:
    bad, _ = place.serve(), place.serve()
    engine = place.loaded(concurrent=4)
    bad.faults.refuses["/inference/v1/generate"] = (status, "later")
    same(drawn(engine, FEW), expected, FEW)


def test_a_server_that_wants_a_pause_is_given_it(place: Place, expected: Found) -> None:
    """It says for how long (Retry-After), which is longer than all attempts would take otherwise."""
    busy = place.serve()
    engine = place.loaded(concurrent=4, attempts=2)
    busy.faults.refuses["/inference/v1/generate"] = (429, "later")
    busy.faults.retry_after = "1"
    again = threading.Timer(0.8, lambda: busy.faults.refuses.clear())
    again.start()
    same(drawn(engine, 1), expected, 1)
    again.join(60)


def test_a_pause_ends_with_the_run(place: Place) -> None:
    server = place.serve()
    engine = place.loaded()
    server.faults.refuses["/inference/v1/generate"] = (503, "later")
    server.faults.retry_after = "3600"
    stream = engine.stream(SAMPLING)
    stream.submit(REQUESTS[0])
    began = time.monotonic()
    while not server.refused:
        time.sleep(0.01)
        assert time.monotonic() < began + 600
    stream.close()
    assert time.monotonic() < began + 600


@pytest.mark.parametrize(
    ("later", "least", "most"),
    [("7", 7, 7), ("0", 0, 0), ("-3", 0, 0), ("soon", 0, 0), ("nan", 0, 0), ("1e9", 3600, 3600), ("", 0, 0)],
)
def test_what_retry_after_says(later: str, least: float, most: float) -> None:
    assert least <= seconds_of(later) <= most


def test_retry_after_may_be_a_date() -> None:
    assert 3000 < seconds_of(formatdate(time.time() + 3500, usegmt=True)) <= 3600
    assert seconds_of("Fri, 31 Dec 1999 23:59:59 GMT") == 0


@pytest.mark.parametrize(
    "spoil",
    [
        of(token_ids=[10**6] * 8),
        of(token_ids=[2**70] * 8),
        lambda choice: choice | {"token_ids": [], "logprobs": {"content": []}},
        lambda choice: "{",
    ],
)
def test_a_probe_that_cannot_be_scored_loses_the_server(place: Place, spoil: Callable[[Choice], Any]) -> None:
    """The other one samples, and the loss is told in a line; a server that says so once is asked again."""
    bad, good = place.serve(), place.serve()
    engine = place.open(attempts=2)
    bad.faults.spoils, bad.faults.spoils_every = spoil, 1
    engine.load(place.model.named_parameters(), 1)
    assert [note for note in place.notes if f"engine: lost {bad.url}" in note and "\n" not in note]
    before, last = good.begun, bad.begun
    drawn(engine, 1)
    assert (good.begun, bad.begun) == (before + 4, last)
    bad.faults.spoils_every = 2
    engine.load(place.model.named_parameters(), 2)
    assert f"engine: {bad.url} is back, with version 2 of the weights" in place.notes
    assert not any(server.lost for server in engine.servers.all)


def test_a_server_that_a_killed_run_left_paused_goes_on(place: Place, expected: Found) -> None:
    server = place.serve()
    server.running.clear()
    same(drawn(place.loaded(), 1), expected, 1)


def test_a_server_that_answers_no_more_and_lives(place: Place, expected: Found) -> None:
    """It is healthy and gives nothing: the deadline of a completion sends what it had to the other."""
    bad, good = place.serve(), place.serve()
    engine = place.loaded(concurrent=8, timeout_seconds=8.0)
    bad.faults.seconds = 3600.0
    same(drawn(engine, 2), expected, 2)
    assert bad.begun > 0
    assert good.begun >= 8
    assert place.notes == []


@pytest.mark.parametrize("route", ROUTES)
def test_a_step_of_an_exchange_that_fails_ends_the_run(place: Place, route: str) -> None:
    server = place.serve()
    engine = place.loaded(1)
    server.faults.refuses[route] = (500, "no room")
    with pytest.raises(
        UserError, match=rf"{route}.* answered 500: no room; the server lives and does not take version 2"
    ):
        engine.load(place.model.named_parameters(), 2)
    del server.faults.refuses[route]
    engine.load(place.model.named_parameters(), 3)
    assert {one.version for one in drawn(engine, 1).values()} == {3}


def test_what_is_whole() -> None:
    assert is_whole([1, 2], [-0.5, 0])
    assert is_whole([], [])
    assert is_whole([1], [5e-4])
    for tokens, logprobs in (([1], [-0.5, 0.0]), ("a", [0.0]), ([True], [0.0]), ([1], [float("nan")]), ([1], ["0"])):
        assert not is_whole(tokens, logprobs)
