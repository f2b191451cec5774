"""The door over HTTP: who may ask, what is answered and refused, to the token."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from typing import Any

import pytest

from groupwise.types import Example, Request

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


def user(words: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": words}]


def test_models(client) -> None:
    status, answer = client.send("GET", "/v1/models")
    assert (status, answer["data"][0]["id"], answer["data"][0]["max_model_len"]) == (200, "tiny", 128)


@pytest.mark.parametrize("words", ["2 + 2 = ?", "why?", "é€𝄞", "<|end|> <|assistant|>", " "])
def test_greedy_answers_are_those_of_the_engine(client, opened, words: str) -> None:
    engine, renderer = opened
    prompt = renderer.prompt(Example("row", words)).tokens
    answer = client.chat(words, temperature=0, max_tokens=20, return_token_ids=True, logprobs=True)
    [(_, _, completion)] = engine.generate([Request(prompt, (0,))], renderer.sampling(20, 0.0))
    [choice] = answer["choices"]
    assert tuple(answer["prompt_token_ids"]) == prompt
    assert tuple(choice["token_ids"]) == completion.tokens
    assert choice["message"]["content"] == renderer.decode(completion.tokens)
    assert [each["logprob"] for each in choice["logprobs"]["content"]] == list(completion.logprobs)
    assert choice["finish_reason"] == ("stop" if completion.finished else "length")
    count = len(completion.tokens)
    assert answer["usage"] == {
        "prompt_tokens": len(prompt),
        "completion_tokens": count,
        "total_tokens": len(prompt) + count,
    }


def test_a_text_is_shown_as_it_is(client, opened) -> None:
    engine, renderer = opened
    text = "<|user|>2+2<|end|><|assistant|>"
    ids = renderer.tokenizer.encode(text, add_special_tokens=False)
    asked = {"temperature": 0, "max_tokens": 8, "return_token_ids": True, "logprobs": 0}
    answers = [client.send("POST", TEXT, {"prompt": prompt, **asked})[1] for prompt in (text, ids, [text], [ids])]
    [(_, _, completion)] = engine.generate([Request(tuple(ids), (0,))], renderer.sampling(8, 0.0))
    for answer in answers:
        assert answer["object"] == "text_completion"
        assert answer["prompt_token_ids"] == ids
        assert tuple(answer["choices"][0]["token_ids"]) == completion.tokens
        assert answer["choices"][0]["logprobs"]["token_logprobs"] == list(completion.logprobs)
        assert answer["choices"][0]["text"] == renderer.decode(completion.tokens)


def joined(pieces: list[dict[str, Any]], index: int, is_chat: bool) -> str:
    own = [piece["choices"][0] for piece in pieces if piece["choices"] and piece["choices"][0]["index"] == index]
    return "".join(each["delta"].get("content", "") if is_chat else each["text"] for each in own)


@pytest.mark.parametrize("is_chat", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0},
        {"temperature": 1.3, "seed": 5, "n": 4, "max_tokens": 90},
        {"temperature": 1, "seed": 6, "n": 3, "stop": ["e", "ab"], "max_tokens": 60},
        {"temperature": 1, "seed": 7, "top_p": 0.5, "n": 2},
    ],
)
def test_a_stream_says_what_the_whole_says(client, is_chat: bool, options: dict[str, Any]) -> None:
    path = CHAT if is_chat else TEXT
    body = {"max_tokens": 30, "return_token_ids": True, "logprobs": True if is_chat else 0, **options}
    body |= {"messages": user("say")} if is_chat else {"prompt": "say"}
    whole = client.send("POST", path, body)[1]
    pieces = client.stream(path, {**body, "stream_options": {"include_usage": True}})
    assert pieces[-1]["usage"] == whole["usage"]
    for choice in whole["choices"]:
        index = choice["index"]
        assert joined(pieces, index, is_chat) == (choice["message"]["content"] if is_chat else choice["text"])
        [last] = [
            each["choices"][0]
            for each in pieces
            if each["choices"] and each["choices"][0]["index"] == index and each["choices"][0]["finish_reason"]
        ]
        assert {name: last[name] for name in ("finish_reason", "token_ids", "logprobs")} == {
            name: choice[name] for name in ("finish_reason", "token_ids", "logprobs")
        }
        text = joined(pieces, index, is_chat)
        assert not any(stop in text for stop in options.get("stop", ()))


def test_many_at_once_get_what_each_gets_alone(client) -> None:
    bodies = [
        {"messages": user(f"question {place}"), "seed": place, "max_tokens": 10 + place, "return_token_ids": True}
        | ({"temperature": 0.5} if place % 4 == 3 else {})
        for place in range(8)
    ]
    alone = [client.send("POST", CHAT, body)[1]["choices"] for body in bodies]
    together: list[Any] = [None] * 8

    def ask(place: int) -> None:
        together[place] = client.send("POST", CHAT, bodies[place])[1]["choices"]

    threads = [threading.Thread(target=ask, args=(place,)) for place in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == alone


def test_seeds(client) -> None:
    def ask(**options: Any) -> list[Any]:
        answer = client.chat("hello", max_tokens=16, return_token_ids=True, n=2, **options)
        return [choice["token_ids"] for choice in answer["choices"]]

    assert ask(seed=1) == ask(seed=1)
    assert ask(seed=1) != ask(seed=2)
    assert ask() != ask()
    first, second = ask(seed=1)
    assert first != second


@pytest.mark.parametrize("is_streamed", [True, False])
def test_who_hangs_up_is_not_drawn_for(serve, opened, is_streamed: bool) -> None:
    client = serve()
    never_ends = {"messages": user("go"), "n": 64, "stream": is_streamed, "temperature": 0.01}
    connection = client.connect()
    cancelled = []
    real = client.door.cancel
    client.door.cancel = lambda drawing: (cancelled.append(drawing), real(drawing))
    told, events, gone = client.door._dispatcher._tell, [], threading.Event()

    def tell(event):
        events.append(event)
        if len(events) > 3:  # the answer is not over before its reader is gone
            gone.wait(60)
            time.sleep(0.02)
        told(event)

    client.door._dispatcher._tell = tell
    connection.request("POST", CHAT, json.dumps(never_ends).encode(), {"Authorization": "Bearer a-token-of-tests"})
    if is_streamed:
        connection.getresponse().read(10)
    while not client.door.open_requests:
        time.sleep(0.01)
    connection.sock.shutdown(socket.SHUT_RDWR) if connection.sock else None
    connection.close()
    gone.set()
    while client.door.open_requests:
        time.sleep(0.01)
    assert len(cancelled) == 1
    assert client.chat("next", temperature=0)["choices"]


def test_an_answer_that_takes_too_long(serve) -> None:
    client = serve(wait_seconds=0.01)
    slow = client.door._dispatcher._tell
    client.door._dispatcher._tell = lambda event: (time.sleep(0.02), slow(event))
    status, answer = client.send("POST", CHAT, {"messages": user("go"), "n": 8})
    assert status == 504
    assert answer["error"]["message"] == "no answer within 0.01 seconds; ask for fewer tokens"


REFUSED: list[tuple[dict[str, Any], int, str]] = [
    ({"presence_penalty": 0.5}, 400, "presence_penalty is 0.5; it is not offered here, so leave it out"),
    ({"logit_bias": {"1": 2}}, 400, "logit_bias is {'1': 2}; it is not offered here, so leave it out"),
    ({"top_logprobs": 3}, 400, "top_logprobs is 3; it is not offered here, so leave it out"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format is"),
    ({"top_k": 5}, 400, "unknown parameter 'top_k'; there are model, n, temperature"),
    ({"model": "gpt-4"}, 404, "model is 'gpt-4'; there is 'tiny'"),
    ({"temperature": -1}, 400, "temperature is -1; expected a number from 0 to 100"),
    ({"temperature": "hot"}, 400, "temperature is a text; expected a number from 0 to 100"),
    ({"top_p": 0}, 400, "top_p is 0; expected more than 0, at most 1"),
    ({"n": 0}, 400, "n is 0; expected a whole number from 1 to 128"),
    ({"n": True}, 400, "n is true or false; expected a whole number from 1 to 128"),
    ({"max_tokens": 1.5}, 400, "max_tokens is 1.5; expected a whole number"),
    ({"max_tokens": 4, "max_completion_tokens": 5}, 400, "max_tokens is 4 and max_completion_tokens 5"),
    ({"stop": [""]}, 400, "stop: expected a text that is not empty, or a list of them"),
    ({"stop": ["a" * 257]}, 400, "stop: a text has 257 letters; at most 256"),
    ({"stream": "yes"}, 400, "stream is a text; expected true or false"),
    ({"messages": []}, 400, "messages: expected a list of at least one message"),
    ({"messages": [{"role": "king", "content": "x"}]}, 400, "messages[0].role is 'king'; expected system, developer"),
    ({"messages": [{"role": "user", "content": 5}]}, 400, "messages[0].content: expected text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "messages[0].content[0]: expected"),
    ({"messages": [*user("x"), {"role": "assistant", "content": "y"}]}, 400, "messages end with assistant"),
    ({"messages": [{"role": "user", "content": "x", "name": "Bo"}]}, 400, "messages[0].name has no place"),
    ({"messages": user("\ud800")}, 400, "messages[0].content holds half a surrogate pair"),
    ({"messages": user("\ufdd0")}, 400, "the request: the text holds U+FDD0"),
    ({"messages": user("x" * 200)}, 400, "tokens; 1 to 127 fit the model's context"),
    ({"messages": user("x" * 7_000_000)}, 400, "the prompt has 7,000,000 letters in 1 parts, more than the model's"),
    ({"messages": user("x") * 50_000}, 400, "the prompt has 50,000 letters in 50,000 parts, more than the model's"),
    ({"tools": [{"type": "function", "function": {"name": "\ud800"}}]}, 400, "tools holds half a surrogate pair"),
    ({"chat_template_kwargs": {"x": ["\udfff"]}}, 400, "chat_template_kwargs holds half a surrogate pair"),
    ({"temperature": 10**400}, 400, "temperature is 1000"),
    ({"max_tokens": 10**400}, 400, "max_tokens is 1000"),
    ({"tools": [{"type": "function"}]}, 400, "tools[0]: expected"),
    ({"tool_choice": "required"}, 400, "tool_choice is 'required'; expected auto or none"),
    ({"stream_options": {"x": 1}}, 400, "stream_options has x; expected include_usage"),
]


@pytest.mark.parametrize(("options", "status", "words"), REFUSED)
def test_what_is_refused_says_why(client, options: dict[str, Any], status: int, words: str) -> None:
    seen, answer = client.send("POST", CHAT, {"messages": user("x"), "max_tokens": 1, **options})
    assert seen == status
    assert words in answer["error"]["message"]
    assert "\n" not in answer["error"]["message"]
    assert answer["error"].keys() == {"message", "type", "param", "code"}


def nested(depth: int) -> Any:
    value: Any = {"type": "string"}
    for _ in range(depth):
        value = {"properties": value}
    return value


ODD: list[Any] = [None, 5, "x", [], {}, [1], {"type": 5}, {"properties": 3}, {"properties": {"a": 1}}, nested(400)]


@pytest.mark.parametrize("odd", ODD)
def test_odd_tools_and_calls_are_answered_or_refused(client, odd: Any) -> None:
    """Whatever is in them, nothing breaks."""
    tool = {"type": "function", "function": {"name": "f", "parameters": odd, "description": odd}}
    call = {"id": odd, "type": "function", "function": {"name": "f", "arguments": json.dumps({"x": odd})}}
    messages = [*user("x"), {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "5"}]
    for body in (
        {"messages": user("x"), "tools": [tool]},
        {"messages": messages},
        {"messages": user("x"), "chat_template_kwargs": {"enable_thinking": odd, "tools": odd}},
        {"messages": user("x"), "chat_template_kwargs": odd},
        {"messages": user("x"), "tools": odd},
        {"messages": [{"role": "user", "content": odd}]},
    ):
        for path in (CHAT, "/v1/sessions/odd/chat/completions"):
            status, answer = client.send("POST", path, {**body, "max_tokens": 1})
            assert status in (200, 400), answer


def test_neutral_values_and_those_that_change_nothing(client) -> None:
    neutral = {"presence_penalty": 0, "logit_bias": {}, "top_logprobs": None, "parallel_tool_calls": True, "tools": []}
    body = {"messages": user("x"), "max_tokens": 1, "user": "me", "metadata": {}, **neutral}
    status, _, headers = client.raw("POST", CHAT, body)
    assert status == 200
    assert headers["X-Ignored"] == "user, metadata"


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/v1/models", None, {"Authorization": "Bearer wrong"}, 401),
        ("GET", "/v1/models", None, {"Authorization": ""}, 401),
        ("GET", "/v1/models", None, {"Host": "evil.example:80"}, 403),
        ("GET", "/v1/models", None, {"Host": "127.0.0.1.evil.example"}, 403),
        ("GET", "/v1/models", None, {"Host": "localhost"}, 200),
        ("GET", "/v1/models", None, {"Host": "[::1]:80"}, 200),
        ("GET", "/v1/models", None, {"Host": "["}, 400),
        ("GET", "//[/v1/models", None, {}, 404),
        ("GET", "/v1/nothing", None, {}, 404),
        ("GET", "/etc/passwd", None, {}, 404),
        ("POST", "/v1/models", {}, {}, 404),
        ("POST", "/v1/reward", {}, {}, 404),
        ("PUT", CHAT, {}, {}, 501),
        ("POST", CHAT, b"{", {}, 400),
        ("POST", CHAT, b"[" * 100000, {}, 400),
        ("POST", CHAT, b"[1]", {}, 400),
        ("POST", CHAT, b'{"messages": NaN}', {}, 400),
        ("POST", CHAT, b"\xff\xfe", {}, 400),
        ("POST", CHAT, b"", {"Content-Length": "99999999999"}, 413),
        ("POST", CHAT, b"", {"Content-Length": "-1"}, 411),
        ("POST", CHAT, {}, {"X_Session": "a/b"}, 400),
        ("POST", "/v1/sessions/a/chat/completions", {}, {"X_Session": "b"}, 400),
    ],
)
def test_who_may_ask(client, method: str, path: str, body: Any, headers: dict[str, str], status: int) -> None:
    seen, data, _ = client.raw(method, path, body, headers)
    assert seen == status
    answer = json.loads(data)
    assert ("error" in answer) == (status != 200)


def test_strict_tools_are_shown_as_others_and_the_answer_says_so(client) -> None:
    """Helpers of the package openai make every tool a strict one."""
    prompts = []
    for strict in ({"strict": True}, {}):
        tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, **strict}}
        body = {"messages": user("x"), "max_tokens": 1, "tools": [tool], "return_token_ids": True}
        status, data, headers = client.raw("POST", CHAT, body)
        assert (status, headers.get("X-Ignored")) == (200, "tools.strict" if strict else None)
        prompts.append(json.loads(data)["prompt_token_ids"])
    assert prompts[0] == prompts[1]


def test_a_call_without_arguments_may_say_so_with_no_text_at_all(client) -> None:
    function = {"name": "f", "arguments": ""}
    call = {"id": "1", "type": "function", "function": function}
    messages = [*user("x"), {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "content": "5"}]
    assert client.send("POST", CHAT, {"messages": messages, "max_tokens": 1})[0] == 200


def test_a_connection_serves_several_requests(client) -> None:
    connection: http.client.HTTPConnection = client.connect()
    for _ in range(3):
        connection.request("GET", "/v1/models", headers={"Authorization": "Bearer a-token-of-tests"})
        assert connection.getresponse().read()
    connection.close()


def test_a_model_of_any_name_can_be_asked_for(client, monkeypatch) -> None:
    monkeypatch.setattr(client.server.door, "model", "my modèle")
    status, told = client.send("GET", "/v1/models/my%20mod%C3%A8le")
    assert (status, told["id"]) == (200, "my modèle")


def test_the_package_openai(client) -> None:
    openai = pytest.importorskip("openai")
    port = client.server.port
    own = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="a-token-of-tests", max_retries=0)
    asked: Any = {"model": "tiny", "messages": user("hi"), "temperature": 0, "max_completion_tokens": 20}
    whole = own.chat.completions.create(**asked)
    streamed = own.chat.completions.create(**asked, stream=True)
    text = "".join(piece.choices[0].delta.content or "" for piece in streamed)
    assert text == whole.choices[0].message.content
    again = [*user("hi"), whole.choices[0].message.model_dump(), *user("more")]
    assert own.chat.completions.create(**{**asked, "messages": again}).usage.prompt_tokens > whole.usage.prompt_tokens
    assert own.models.list().data[0] == own.models.retrieve("tiny")
    with pytest.raises(openai.BadRequestError, match="not offered here"):
        own.chat.completions.create(**asked, frequency_penalty=1)
    with pytest.raises(openai.AuthenticationError):
        own.with_options(api_key="wrong").models.list()
