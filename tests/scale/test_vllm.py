"""vLLM servers as an engine, against a stand-in that fails, dies, is slow and takes new weights in the middle."""

from __future__ import annotations

import fcntl
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import REQUESTS, Found, Place, drawn, same
from stand_in import Faults

from groupwise.engines import VLLMServers
from groupwise.engines.vllm_client import Address
from groupwise.engines.vllm_open import clients_of
from groupwise.errors import UserError
from groupwise.storage.manifest import damage
from groupwise.types import CompletionEvent, Request, Sampling

FAULTS: dict[str, Callable[[], Faults]] = {
    "one request in ten is answered 500": lambda: Faults(fail_every=10),
    "it dies": lambda: Faults(dies_after=12),
    "it is slow": lambda: Faults(seconds=0.03),
    "it begins anew with its old weights": lambda: Faults(begins_anew_after=20),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_nothing_is_lost_and_nothing_comes_twice(place: Place, expected: Found, fault: str) -> None:
    """Two servers, one of them with a fault: the tokens are those of an engine without any."""
    bad, good = place.serve(FAULTS[fault]()), place.serve()
    engine = place.loaded(concurrent=6)
    same(drawn(engine), expected)
    assert {one.version for one in drawn(engine).values()} == {1}
    assert good.begun > 20
    if fault == "it dies":
        assert [bad.url in note and "1 of 2 servers left" in note for note in place.notes] == [True]
    if fault == "it is slow":
        assert bad.begun < good.begun
    if fault == "it begins anew with its old weights":
        assert (bad.updates, good.updates) == (2, 1)


def test_one_server_alone_fails_one_request_in_ten(place: Place, expected: Found) -> None:
    place.serve(Faults(fail_every=10))
    same(drawn(place.loaded()), expected)


def test_all_servers_lost_ends_with_words(place: Place) -> None:
    place.serve(Faults(dies_after=10))
    engine = place.loaded(concurrent=4)
    with pytest.raises(UserError, match=r"^engine: every server is lost: http://127.*: "):
        drawn(engine)


def test_a_server_that_only_fails_ends_with_words(place: Place) -> None:
    server = place.serve()
    engine = place.loaded(attempts=2)
    server.faults.fail_every = 1
    with pytest.raises(UserError, match=r"a completion failed 2 times, the last with: .*answered 500: internal error"):
        drawn(engine)


@pytest.mark.parametrize("in_flight", ["drain", "keep"])
def test_new_weights_in_the_middle(place: Place, in_flight: Any) -> None:
    """What is under way is waited for, or goes on with the new weights; spans say which drew what."""
    server = place.serve(Faults(seconds=0.03))
    engine = place.loaded(concurrent=4, in_flight=in_flight)
    before, stream = server.pieces, engine.stream(Sampling(24))
    for request in REQUESTS[:4]:
        stream.submit(request)
    loaded = threading.Event()

    def load() -> None:
        until = time.monotonic() + 600
        while server.pieces < before + 3 and time.monotonic() < until:  # some are begun and none is done
            time.sleep(0.001)
        engine.load(place.model.named_parameters(), 2)
        loaded.set()

    thread = threading.Thread(target=load)
    thread.start()
    found = {(e.request, e.index): e.completion for e in stream.events() if isinstance(e, CompletionEvent)}
    thread.join(60)
    stream.close()
    assert loaded.is_set()
    assert len(found) == 16
    assert {len(one.tokens) for one in found.values()} == {24}
    spans = {one.spans for one in found.values()}
    assert ((2, 24),) in spans
    assert any(len(each) == 2 for each in spans) == (in_flight == "keep")
    assert {each[-1] for each in spans} <= {(1, 24), (2, 24)}
    assert all(one.version == min(version for version, _ in one.spans) for one in found.values())


def test_published_weights(place: Place, tmp_path: Path) -> None:
    """Whole, with the head that is tied, the newest two; a version that the servers have is not given again."""
    server = place.serve()
    engine = place.loaded(1)
    for version in (2, 2, 7):
        engine.load(place.model.named_parameters(), version)
    folder = tmp_path / "weights"
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "v000002", "v000007"]
    assert damage(folder / "v000007") == ""
    assert {"config.json", "model.safetensors", "manifest.json"} <= {
        path.name for path in (folder / "v000007").iterdir()
    }
    assert server.updates == 3
    assert server.version == "7"
    assert engine.gaps == pytest.approx([0, 0, 0], abs=1e-5)


def test_a_head_that_keeps_its_old_matrix_ends_the_run(place: Place, model: Any) -> None:
    place.serve(Faults(keeps_head=True))
    engine = place.loaded(1)
    before = model.model.embed_tokens.weight.clone()
    try:
        model.model.embed_tokens.weight.mul_(1.3)
        with pytest.raises(UserError, match=r"after version 2 was loaded .* nats apart .*head that is tied"):
            engine.load(model.named_parameters(), 2)
    finally:
        model.model.embed_tokens.weight.copy_(before)


def test_raw_logprobs_are_told_by_a_probe(place: Place) -> None:
    """Where the server does not say it itself."""
    place.serve(Faults(raw=True, refuses={"/server_info": (404, "Not Found")}))
    with pytest.raises(UserError, match=r"gives raw log-probabilities: .*--logprobs-mode processed_logprobs"):
        place.loaded()


class Other:
    """A tokenizer that splits in letters."""

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [ord(letter) for letter in text]}


REFUSED: dict[str, tuple[Faults, str]] = {
    "says raw": (Faults(raw=True), r"gives raw_logprobs; .*--logprobs-mode processed_logprobs"),
    "needs a flag": (
        Faults(refuses={"/inference/v1/generate": (403, "off")}),
        r"answered 403: off.*--enable-scale-out",
    ),
    "needs a key": (Faults(refuses={"/inference/v1/generate": (401, "who")}), r"it wants a key, .*GROUPWISE_VLLM_KEY"),
    "needs a key for its models": (Faults(refuses={"/v1/models": (401, "who")}), r"it wants a key, or another one"),
    "stands behind a gate": (
        Faults(refuses={"/health": (401, "who")}),
        r"it wants a key, or another one, in GROUPWISE",
    ),
    "is a proxy": (
        Faults(refuses={"/health": (502, "Bad Gateway")}),
        r"502: Bad Gateway; what answers there is no vLLM",
    ),
    "names no number": (Faults(changes={"/v1/models": {"data": [{"id": "a", "max_model_len": 1e400}]}}), r"no model"),
    "names a list": (Faults(changes={"/v1/models": []}), r"/v1/models names no model"),
    "gives two choices": (
        Faults(
            changes={
                "/inference/v1/generate": {
                    "choices": [{"token_ids": [1], "logprobs": {"content": [{"logprob": -1.0}]}}] * 2
                }
            }
        ),
        r"the answer is no choice",
    ),
    "cannot be given weights": (Faults(refuses={"/is_paused": (404, "no")}), r"VLLM_SERVER_DEV_MODE=1"),
    "sends elsewhere": (Faults(refuses={"/health": (302, "http://127.0.0.1:9/")}), r"/health answered 302"),
    "is another kind": (Faults(changes={"/v1/models": {"data": []}}), r"/v1/models names no model"),
    "splits otherwise": (Faults(changes={"/tokenize": {"tokens": [1, 2]}}), r"another tokenizer .* number 1 differs"),
    "gives no ids": (Faults(changes={"/inference/v1/generate": {"choices": [{}]}}), r"no choice of token ids"),
    "gives no numbers": (
        Faults(
            changes={
                "/inference/v1/generate": {
                    "choices": [{"token_ids": [1], "logprobs": {"content": [{"logprob": float("nan")}]}}]
                }
            }
        ),
        r"no choice of token ids with a log-probability",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_server_that_will_not_do_is_one_line_before_anything(place: Place, name: str) -> None:
    faults, words = REFUSED[name]
    place.serve(faults)
    with pytest.raises(UserError, match=words) as seen:
        place.open()
    assert "\n" not in str(seen.value)


def test_nobody_there(place: Place) -> None:
    server = place.serve()
    server.close()
    with pytest.raises(UserError, match=r"no vLLM server answers there: start it with: groupwise serve MODEL --vllm"):
        place.open()


@pytest.mark.parametrize(
    "url",
    [
        *("ftp://a:1", "file:///etc/passwd", "a:8000", "http://", "http://me:word@a:1", "http://a:x", "http://a/?q=1"),
        *(
            "",
            "http://a:0",
            "http://a:99999",
            "http://a..b:1",
            f"http://{'a' * 70}:1",
            "http://a/ü",
            "http://[::1",
            "http://a b",
        ),
    ],
)
def test_addresses_are_http_and_plain(url: str) -> None:
    with pytest.raises(UserError, match="expected http") as seen:
        Address.of(url)
    assert "word" not in str(seen.value).replace("a password", "")


def test_a_tokenizer_that_answers_nonsense_is_left_to_the_probe(place: Place) -> None:
    place.serve(Faults(changes={"/tokenize": {"tokens": None}}))
    place.serve(Faults(changes={"/tokenize": [1, 2]}))
    assert len(drawn(place.loaded())) > 0


@pytest.mark.parametrize(
    ("url", "host", "port", "path"),
    [
        ("http://[::1]:8000", "::1", 8000, ""),
        ("https://[fe80::1%25eth0]/v", "fe80::1%25eth0", 443, "/v"),
        ("http://a", "a", 80, ""),
        ("HTTP://A:8000///", "a", 8000, ""),
        ("http://bücher.example:1/x/", "bücher.example", 1, "/x"),
    ],
)
def test_what_an_address_says(url: str, host: str, port: int, path: str) -> None:
    found = Address.of(url)
    assert (found.host, found.port, found.path) == (host, port, path)


def test_one_server_in_two_spellings_is_one() -> None:
    for other in ("HTTP://Host:80/", "http://host", "http://host.:80"):
        with pytest.raises(UserError, match="the same address stands twice"):
            clients_of(("http://host:80", other), 1.0, "")
    assert len(clients_of(("http://host:80", "http://host:81", "http://host:80/a"), 1.0, "")) == 3


def test_a_server_that_speaks_no_tls_is_named(place: Place) -> None:
    server = place.serve()
    engine = VLLMServers((server.url.replace("http", "https"),), str(place.folder), timeout_seconds=20.0)
    with pytest.raises(UserError, match=r"https://127.*SSL.*no vLLM server answers there") as seen:
        engine.open("nowhere", place.model, place.tokenizer)
    assert "\n" not in str(seen.value)


def test_one_address_twice_and_none(place: Place) -> None:
    server = place.serve()
    for urls, words in (((server.url, server.url + "/"), "twice"), ((), "seen none")):
        with pytest.raises(UserError, match=words):
            VLLMServers(urls, str(place.folder)).open("nowhere", place.model, place.tokenizer)


def test_two_runs_in_one_folder(place: Place, tmp_path: Path) -> None:
    """The second is told before it samples."""
    place.serve()
    (tmp_path / "weights").mkdir()
    with (tmp_path / "weights" / ".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="another run publishes its weights in"):
            place.open()
    place.open()


def test_a_narrowed_choice_is_refused(place: Place) -> None:
    place.serve()
    engine = place.loaded()
    for rule in ({"top_k": 5}, {"top_p": 0.9}, {"min_p": 0.1}):
        with pytest.raises(UserError, match="top_k, top_p and min_p"):
            engine.stream(Sampling(4, **rule))  # type: ignore[arg-type]


def test_a_server_hears_what_was_asked(place: Place) -> None:
    """The seed is the completion's; what goes on behind forced tokens has another."""
    server = place.serve()
    engine = place.loaded()
    server.seen.clear()
    asked = [Request((5, 6), (2**64 - 1,)), Request((5, 6), (7,), forced=(8,)), Request((5, 6), (7,), max_tokens=3)]
    list(engine.generate(asked, Sampling(9, 0.5, stop_tokens=(4,))))
    heard = sorted((body["sampling_params"] | {"ids": body["token_ids"]} for body in server.seen), key=json.dumps)
    assert {each["seed"] for each in heard} >= {2**63 - 1, 7}
    assert len({each["seed"] for each in heard}) == 3
    assert sorted(each["max_tokens"] for each in heard) == [3, 9, 9]
    assert [5, 6, 8] in [each["ids"] for each in heard]
    assert all(each["temperature"] == 0.5 and each["stop_token_ids"] == [4] for each in heard)


def test_two_engines_take_turns_on_the_same_servers(place: Place, expected: Found) -> None:
    """Each samples from its own weights, whichever was given last."""
    server = place.serve()
    first, second = place.loaded(1), place.loaded(1)
    same(drawn(first), expected)
    same(drawn(second), expected)
    assert server.updates == 4


def test_weights_of_before_are_scored_by_themselves(place: Place, model: Any) -> None:
    """As draws ahead load them, while the learner is further on; and the learner's model is left as it is."""
    place.serve()
    engine = place.open()
    kept = [(name, weight.clone()) for name, weight in model.named_parameters()]
    before = [weight.data_ptr() for weight in model.parameters()]
    try:
        for weight in model.parameters():
            weight.mul_(1.2)
        engine.load(kept, 1)
    finally:
        for (_, own), (_, weight) in zip(model.named_parameters(), kept, strict=True):
            own.copy_(weight)
    assert engine.gaps == pytest.approx([0], abs=1e-5)
    assert [weight.data_ptr() for weight in model.parameters()] == before
    assert not model.training
