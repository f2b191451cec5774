"""A server with the routes of vLLM that a run uses, over our own compiled engine: slow, failing or dying on request."""

from __future__ import annotations

import copy
import json
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from groupwise.engines.cpp import CppEngine, decoder_for
from groupwise.networks import blueprint_of
from groupwise.storage.manifest import damage
from groupwise.types import Request, Sampling

PIECE = 4
"""Tokens that are drawn before the server looks whether it is paused or has new weights."""


@dataclass
class Faults:
    """What a server does wrong, and when."""

    fail_every: int = 0
    """One request for a completion in so many is answered 500."""
    dies_after: int = 0
    """Completions that were begun, before it closes every connection and listens no more. 0: it lives."""
    seconds: float = 0.0
    """Before each piece of a completion."""
    raw: bool = False
    """Log-probabilities are those of temperature 1."""
    keeps_head: bool = False
    """A head that is tied keeps the matrix that it had."""
    refuses: dict[str, tuple[int, str]] = field(default_factory=dict)
    """The status and the words that a path answers, in place of what is right."""
    changes: dict[str, Any] = field(default_factory=dict)
    """What a path answers, in place of what is right."""
    begins_anew_after: int = 0
    """Completions, before it has the weights of its beginning again, as after a crash. 0: never."""


class StandIn:
    """Serves a model on a free port until it is closed."""

    def __init__(self, model: Any, tokenizer: Any = None, faults: Faults | None = None, name: str = "policy") -> None:
        self.model, self.tokenizer, self.faults, self.name = copy.deepcopy(model), tokenizer, faults or Faults(), name
        self.first = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        parts = blueprint_of(self.model)
        assert not isinstance(parts, str), parts
        decoder = decoder_for(parts)
        assert not isinstance(decoder, str), decoder
        self.engine = CppEngine(self.model, parts, decoder, 4, threads=1)
        self.version, self.begun, self.updates = "default", 0, 0
        self.seen: list[dict[str, Any]] = []
        self.bytes_given = list[str]()
        self.lock, self.running = threading.Lock(), threading.Event()
        self.running.set()
        self.connections: set[Any] = set()
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Listens no more, and ends every connection."""
        self.server.shutdown()
        self.server.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(2)

    def generate(self, body: dict[str, Any]) -> dict[str, Any]:
        """A completion, piece by piece; between pieces the server may be paused and take other weights."""
        with self.lock:
            self.begun += 1
            number = self.begun
            self.seen.append(body)
            if self.faults.begins_anew_after == number:
                self.model.load_state_dict(self.first)
                self.version = "default"
        if self.faults.dies_after and number > self.faults.dies_after:
            threading.Thread(target=self.close, daemon=True).start()
            time.sleep(60)
        if self.faults.fail_every and number % self.faults.fail_every == 0:
            raise Answer(500, "internal error")
        rule, drawn, logprobs, spans, finished = body["sampling_params"], list[int](), list[float](), list[Any](), False
        request = Request(tuple(body["token_ids"]), (int(rule.get("seed", 0)),))
        while len(drawn) < rule["max_tokens"] and not finished:
            time.sleep(self.faults.seconds)
            self.running.wait(60)
            with self.lock:
                sampling = Sampling(
                    min(PIECE, rule["max_tokens"] - len(drawn)),
                    float(rule.get("temperature", 1.0)),
                    stop_tokens=tuple(rule.get("stop_token_ids") or ()),
                )
                rest = request.resumed(0, 0, drawn)
                [(_, _, piece)] = self.engine.generate([rest], sampling)
                version = self.version
            drawn, logprobs = [*drawn, *piece.tokens], [*logprobs, *piece.logprobs]
            finished = piece.finished
            if spans and spans[-1]["version"] == version:
                spans[-1]["end"] = len(drawn)
            else:
                spans.append({"version": version, "start": len(drawn) - len(piece.tokens), "end": len(drawn)})
        if self.faults.raw:
            logprobs = self.at_temperature_one(list(request.tokens), drawn)
        content = [{"logprob": logprob} for logprob in logprobs]
        reason = "stop" if finished else "length"
        choice = {"token_ids": drawn, "logprobs": {"content": content}, "finish_reason": reason}
        return {"choices": [choice | {"weight_versions": spans}]}

    @torch.inference_mode()
    def at_temperature_one(self, prompt: list[int], drawn: list[int]) -> list[float]:
        ids = torch.tensor([prompt + drawn])
        logits = self.model(ids).logits[0, len(prompt) - 1 : -1]
        said: list[float] = logits.log_softmax(-1).gather(1, torch.tensor(drawn)[:, None]).squeeze(1).tolist()
        return said

    def reload(self, path: Path) -> None:
        """Takes the weights of a published directory."""
        assert damage(path) == ""
        tensors = load_file(path / "model.safetensors")
        with self.lock, torch.no_grad():
            self.updates += 1
            tied = self.model.config.tie_word_embeddings
            head = self.model.lm_head.weight.clone()
            for name, own in self.model.named_parameters():
                own.copy_(tensors[name])
            if tied:
                assert torch.equal(tensors["lm_head.weight"], tensors["model.embed_tokens.weight"])
            if self.faults.keeps_head:
                self.model.lm_head.weight = torch.nn.Parameter(head, requires_grad=False)

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What a path says."""
        faults = self.faults
        if path in faults.refuses:
            raise Answer(*faults.refuses[path])
        if path in faults.changes:
            return faults.changes[path]
        if method == "GET":
            context = self.model.config.max_position_embeddings
            mode = "raw_logprobs" if faults.raw else "processed_logprobs"
            return {
                "/health": None,
                "/is_paused": {"is_paused": not self.running.is_set()},
                "/v1/models": {"data": [{"id": self.name, "max_model_len": context}]},
                "/server_info": {"vllm_config": {"model_config": {"dtype": "float32", "logprobs_mode": mode}}},
            }[path]
        if path == "/inference/v1/generate":
            return self.generate(body)
        if path == "/pause":
            self.running.clear()
        elif path == "/resume":
            self.running.set()
        elif path == "/collective_rpc":
            assert (body["method"], self.running.is_set()) == ("reload_weights", False)
            self.reload(Path(body["kwargs"]["weights_path"]))
        elif path == "/update_weight_version":
            self.version = body["new_version"]
        elif path == "/tokenize" and self.tokenizer is not None:
            return {"tokens": self.tokenizer(body["prompt"], add_special_tokens=False)["input_ids"]}
        elif path != "/reset_prefix_cache":
            raise Answer(404, "Not Found")
        return {}


class Answer(Exception):  # noqa: N818 - what is said in place of what was asked for
    """A status other than 200."""


def handler(stand_in: StandIn) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def setup(self) -> None:
            super().setup()
            stand_in.connections.add(self.connection)

        def finish(self) -> None:
            stand_in.connections.discard(self.connection)
            with suppress(OSError):
                super().finish()

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.reply("GET", None)

        def do_POST(self) -> None:
            self.reply("POST", json.loads(self.rfile.read(int(self.headers["Content-Length"])) or b"null"))

        def reply(self, method: str, body: Any) -> None:
            try:
                status, said = 200, json.dumps(stand_in.answer(method, self.path.partition("?")[0], body))
            except Answer as error:
                status, said = error.args
            except KeyError:
                status, said = 404, "Not Found"
            with suppress(OSError):
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("Location", said)
                self.send_header("Content-Length", str(len(said.encode())))
                self.end_headers()
                self.wfile.write(said.encode())

    return Handler
