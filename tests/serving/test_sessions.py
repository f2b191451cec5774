"""Sessions: what was drawn is kept id for id, and joined where a call goes on from another."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.conftest import serving

from groupwise.errors import UserError
from groupwise.learners.loading import load_policy
from groupwise.protocols import RolloutEngine, Stream
from groupwise.serving.episodes import EpisodeFile
from groupwise.types import Completion, CompletionEvent, Event, Request, Sampling, TokenEvent

Chat = list[dict[str, Any]]


def said(answer: dict[str, Any], index: int = 0) -> dict[str, Any]:
    return answer["choices"][index]["message"]


def user(words: str) -> dict[str, str]:
    return {"role": "user", "content": words}


def talk(client, session: str, turns: int, **options: Any) -> list[dict[str, Any]]:
    """Answers to a growing conversation, as a client sends it back."""
    messages: Chat = [user("begin")]
    answers = []
    for turn in range(turns):
        answers.append(client.chat(messages, session, return_token_ids=True, logprobs=True, max_tokens=9, **options))
        messages = [*messages, said(answers[-1]), user(f"more {turn}")]
    return answers


def rewarded(client, session: str, reward: float = 1.0, **more: Any) -> list[dict[str, Any]]:
    status, answer = client.send("POST", f"/v1/sessions/{session}/reward", {"reward": reward, **more})
    assert status == 200, answer
    return [episode for episode in client.episodes() if episode["session"] == session]


def test_a_conversation_is_one_sequence_of_the_ids_that_were_drawn(serve) -> None:
    client = serve()
    for number in range(10):
        answers = talk(client, f"s{number}", 3)
        [episode] = rewarded(client, f"s{number}", 0.5)
        drawn = [token for answer in answers for token in answer["choices"][0]["token_ids"]]
        told = [each["logprob"] for answer in answers for each in answer["choices"][0]["logprobs"]["content"]]
        own = [place for place, kept in enumerate(episode["mask"]) if kept]
        assert [episode["tokens"][place] for place in own] == drawn
        assert [episode["logprobs"][place] for place in own] == told
        assert {each for each, kept in zip(episode["logprobs"], episode["mask"], strict=True) if not kept} == {0.0}
        ids = episode["prompt_tokens"] + episode["tokens"]
        for answer, end in zip(answers, episode["turns"], strict=True):
            prompt = answer["prompt_token_ids"]
            assert ids[: len(prompt)] == prompt
            assert len(prompt) + len(answer["choices"][0]["token_ids"]) == len(episode["prompt_tokens"]) + end + 1
        assert (episode["reward"], episode["sequence"], episode["sequences"]) == (0.5, 0, 1)


def test_what_stands_between_is_the_template_s(serve, opened) -> None:
    client = serve()
    talk(client, "a", 2, temperature=0)
    [episode] = rewarded(client, "a")
    between = [token for token, kept in zip(episode["tokens"], episode["mask"], strict=True) if not kept]
    text = opened[1].tokenizer.decode(between)
    assert text.removeprefix("<|end|>") == "<|user|>more 0<|assistant|>"


def test_the_log_probabilities_are_the_model_s(serve, opened, tiny_model) -> None:
    client = serve()
    talk(client, "a", 3)
    [episode] = rewarded(client, "a")
    ids = torch.tensor([episode["prompt_tokens"] + episode["tokens"]])
    with torch.no_grad():
        logits = load_policy(tiny_model, "float32", "cpu", opened[1].tokenizer)(ids).logits[0].log_softmax(-1)
    start = len(episode["prompt_tokens"])
    for place, kept in enumerate(episode["mask"]):
        if kept:
            expected = logits[start + place - 1, episode["tokens"][place]].item()
            assert episode["logprobs"][place] == pytest.approx(expected, abs=1e-4)


def test_the_client_s_own_words_begin_another_sequence(serve) -> None:
    client = serve()
    first = client.chat("begin", "a", temperature=0)
    for words in (said(first)["content"] + "!", "otherwise"):
        client.chat([user("begin"), {"role": "assistant", "content": words}, user("more")], "a")
    episodes = rewarded(client, "a")
    assert [episode["sequence"] for episode in episodes] == [0, 1, 2]
    assert all(all(episode["mask"]) for episode in episodes)


def test_a_place_from_which_another_went_on_begins_a_sequence_with_the_same_ids(serve) -> None:
    client = serve()
    first = client.chat("begin", "a", return_token_ids=True)
    messages = [user("begin"), said(first), user("more")]
    answers = [client.chat(messages, "a", return_token_ids=True) for _ in range(2)]
    assert answers[0]["prompt_token_ids"] == answers[1]["prompt_token_ids"]
    one, other = rewarded(client, "a")
    assert other["prompt_tokens"] == answers[1]["prompt_token_ids"]
    assert len(one["turns"]) == 2
    assert sum(one["mask"]) + sum(other["mask"]) == sum(
        len(answer["choices"][0]["token_ids"]) for answer in (first, *answers)
    )


def test_each_of_several_choices_is_a_sequence_and_can_be_gone_on_from(serve) -> None:
    client = serve()
    answer = client.chat("begin", "a", n=3, return_token_ids=True)
    client.chat([user("begin"), said(answer, 2), user("more")], "a")
    assert [len(episode["turns"]) for episode in rewarded(client, "a")] == [1, 1, 2]


def test_an_answer_that_was_cut_at_a_stop_text_is_not_gone_on_from(serve) -> None:
    client = serve()
    answer = client.chat("begin", "a", seed=3, max_tokens=60)
    stop = next(letter for letter in said(answer)["content"][1:] if letter.isascii())
    cut = client.chat("begin", "b", seed=3, max_tokens=60, stop=stop)
    assert cut["choices"][0]["finish_reason"] == "stop"
    assert stop not in said(cut)["content"]
    client.chat([user("begin"), said(cut), user("more")], "b")
    assert [len(episode["turns"]) for episode in rewarded(client, "b")] == [1, 1]


def test_texts_and_ids_go_on_too(serve, opened) -> None:
    client = serve()
    path = "/v1/sessions/a/completions"
    about = {"max_tokens": 6, "return_token_ids": True, "temperature": 0}
    first = client.send("POST", path, {"prompt": "abc", **about})[1]
    text = "abc" + first["choices"][0]["text"] + " and"
    second = client.send("POST", path, {"prompt": text, **about})[1]
    ids = second["prompt_token_ids"] + second["choices"][0]["token_ids"] + [70, 71]
    client.send("POST", path, {"prompt": ids, **about})
    [episode] = rewarded(client, "a")
    assert len(episode["turns"]) == 3
    observed = [token for token, kept in zip(episode["tokens"], episode["mask"], strict=True) if not kept]
    assert observed == [*opened[1].tokenizer.encode(" and", add_special_tokens=False), 70, 71]


def test_calls_side_by_side(serve) -> None:
    client = serve()
    calls = [threading.Thread(target=client.chat, args=(f"begin {place}", "a")) for place in range(8)]
    for call in calls:
        call.start()
    for call in calls:
        call.join()
    episodes = rewarded(client, "a")
    assert len({tuple(episode["prompt_tokens"]) for episode in episodes}) == 8


def test_a_session_draws_the_same_whatever_others_do(serve, client) -> None:
    one = [answer["choices"][0]["token_ids"] for answer in talk(serve(), "same", 2)]
    client.chat("something else", "other")
    assert [answer["choices"][0]["token_ids"] for answer in talk(client, "same", 2)] == one


def test_a_template_that_rewrites_turns_begins_another_sequence(opened, tmp_path) -> None:
    engine, renderer = opened
    from groupwise.learners.loading import load_tokenizer

    tokenizer = load_tokenizer(renderer.name)
    tokenizer.chat_template = (
        "{% for m in messages %}<|{{ m.role }}|>{% if m.role == 'user' and not loop.last %}(old){% endif %}"
        "{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    with serving(engine, replace(renderer, tokenizer=tokenizer), tmp_path / "episodes.jsonl") as client:
        talk(client, "a", 3)
        assert [len(episode["turns"]) for episode in rewarded(client, "a")] == [1, 1, 1]


def test_the_header_names_a_session_as_the_path_does(serve) -> None:
    client = serve()
    body = {"messages": [user("x")], "max_tokens": 2}
    assert client.send("POST", "/v1/chat/completions", body, X_Session="a")[0] == 200
    [episode] = rewarded(client, "a", group="row 3")
    assert episode["group"] == "row 3"


def test_rewards_that_are_none(serve) -> None:
    client = serve()
    path = "/v1/sessions/a/reward"
    assert client.send("POST", path, {"reward": 1})[0] == 404
    client.chat("x", "a")
    for body in ({}, {"reward": None}, {"reward": True}, {"reward": "1"}, {"reward": 1, "group": 5}, {"x": 1}, [1]):
        assert client.send("POST", path, body)[0] == 400, body
    for number in (b"1e999", b"1" * 400):
        assert client.send("POST", path, b'{"reward": ' + number + b"}")[0] == 400
    assert client.episodes() == []
    assert client.send("POST", path, {"reward": 1})[0] == 200
    assert client.send("POST", path, {"reward": 1})[0] == 409
    assert client.send("POST", "/v1/sessions/a/chat/completions", {"messages": [user("x")]})[0] == 409
    assert len(client.episodes()) == 1


def test_a_session_can_be_forgotten(serve) -> None:
    client = serve()
    client.chat("x", "a")
    assert client.send("DELETE", "/v1/sessions/a") == (200, {"session": "a", "deleted": True})
    assert client.send("DELETE", "/v1/sessions/a")[0] == 404
    assert client.episodes() == []


def test_a_file_that_is_there_is_not_written_over(tmp_path) -> None:
    path = tmp_path / "episodes.jsonl"
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="exists already; choose another name"):
        EpisodeFile(path)
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(UserError, match="no such directory; make it first"):
        EpisodeFile(tmp_path / "missing" / "episodes.jsonl")


class Scripted(RolloutEngine):
    """An engine that says what it is told to, in order."""

    version, context_tokens = 0, 4096

    def __init__(self, texts: list[tuple[int, ...]]) -> None:
        self.texts = texts

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        return Words(self.texts)


class Words(Stream):
    def __init__(self, texts: list[tuple[int, ...]]) -> None:
        self.texts, self.open, self.count = texts, list[int](), 0

    def submit(self, request: Request) -> int:
        self.open.append(self.count)
        self.count += 1
        return self.count - 1

    def events(self) -> Iterator[Event]:
        while self.open:
            number, tokens = self.open.pop(0), self.texts.pop(0)
            yield from (TokenEvent(number, 0, token) for token in tokens)
            yield CompletionEvent(number, 0, Completion(tokens, (-0.5,) * len(tokens), True, 0))

    def cancel(self, number: int) -> None: ...

    def close(self) -> None: ...


TOOL = {
    "type": "function",
    "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}},
}


@pytest.mark.parametrize("streams", [False, True])
def test_calls_of_tools_there_and_back(opened, tmp_path, streams: bool) -> None:
    renderer = opened[1]

    def ids(text: str) -> tuple[int, ...]:
        return (*renderer.tokenizer.encode(text, add_special_tokens=False), renderer.stop_tokens[0])

    odd = 'So: <tool_call>{"name":"add",   "arguments":{"a": 2}}</tool_call>'
    engine = Scripted([ids(odd), ids("5")])
    with serving(engine, renderer, tmp_path / "episodes.jsonl") as client:
        messages: Chat = [user("2 + 3")]
        if streams:
            body = {"messages": messages, "tools": [TOOL]}
            pieces = client.stream("/v1/sessions/a/chat/completions", body)
            deltas = [piece["choices"][0]["delta"] for piece in pieces]
            [call] = [delta["tool_calls"][0] for delta in deltas if "tool_calls" in delta]
            assert "".join(delta.get("content") or "" for delta in deltas) == "So:"
            assert pieces[-1]["choices"][0]["finish_reason"] == "tool_calls"
            message: Any = {"role": "assistant", "content": "So:", "tool_calls": [call]}
        else:
            answer = client.chat(messages, "a", tools=[TOOL])
            message = said(answer)
            assert answer["choices"][0]["finish_reason"] == "tool_calls"
            [call] = message["tool_calls"]
        assert (call["type"], call["function"]["name"], json.loads(call["function"]["arguments"])) == (
            ("function", "add", {"a": 2})
        )
        messages += [message, {"role": "tool", "tool_call_id": call["id"], "content": "5"}]
        last = client.chat(messages, "a", tools=[TOOL])
        assert said(last) == {"role": "assistant", "content": "5"}
        [episode] = rewarded(client, "a")
    assert tuple(t for t, kept in zip(episode["tokens"], episode["mask"], strict=True) if kept) == ids(odd) + ids("5")
    observed = [token for token, kept in zip(episode["tokens"], episode["mask"], strict=True) if not kept]
    assert renderer.tokenizer.decode(observed) == "<|tool|>5<|assistant|>"


def test_a_call_keeps_the_id_that_the_model_gave_it(opened, tmp_path) -> None:
    """As Mistral's models do, whose templates write the id with the result."""
    renderer = opened[1]
    text = '<tool_call>{"name": "add", "arguments": {}, "id": "%s"}</tool_call>'
    for own, told in (("Vvv0Dy9mT", "Vvv0Dy9mT"), ("odd id", "call_")):
        tokens = (*renderer.tokenizer.encode(text % own, add_special_tokens=False), renderer.stop_tokens[0])
        with serving(Scripted([tokens]), renderer) as client:
            [call] = said(client.chat([user("2 + 3")], tools=[TOOL]))["tool_calls"]
        assert call["id"].startswith(told)


@settings(max_examples=30)
@given(plan=st.lists(st.tuples(st.sampled_from(["on", "back", "new"]), st.integers(1, 12)), min_size=1, max_size=6))
def test_every_drawn_token_is_trained_exactly_once(client, plan: list[tuple[str, int]]) -> None:
    """Whatever a client goes on from: the ids at mask 1 of all sequences together are those that were drawn."""
    test_every_drawn_token_is_trained_exactly_once.count += 1  # type: ignore[attr-defined]
    name = f"plan{test_every_drawn_token_is_trained_exactly_once.count}"  # type: ignore[attr-defined]
    histories: list[Chat] = [[user("begin")]]
    drawn: list[int] = []
    for kind, size in plan:
        base = {"on": histories[-1], "back": histories[len(histories) // 2], "new": [user("anew")]}[kind]
        if sum(len(str(message["content"])) + 4 for message in base) > 90:
            base = [user("short")]
        answer = client.chat(base, name, max_tokens=size, return_token_ids=True)
        drawn += answer["choices"][0]["token_ids"]
        histories.append([*base, said(answer), user("x")])
    lines = client.door._sessions[name].as_json(0.0, None)
    kept = [t for line in lines for t, own in zip(line["tokens"], line["mask"], strict=True) if own]
    assert sorted(kept) == sorted(drawn)


test_every_drawn_token_is_trained_exactly_once.count = 0  # type: ignore[attr-defined]
