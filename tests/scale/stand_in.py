"""A server with the routes of vLLM that a run uses, over our own compiled engine: slow, failing or dying on request."""

from __future__ import annotations

import copy
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
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
    spoils_every: int = 0
    """One answer to a request for a completion in so many is spoilt; 0: none."""
    spoils: Callable[[dict[str, Any]], Any] = lambda choice: choice
    """What the choice becomes; a string is sent as the whole answer."""
    wire: Any = None
    """Where weights come from that are sent: what it says of their names and shapes, and then each."""
    forgets: bool = False
    """New weights are accepted and not taken."""
    retry_after: str = ""
    """What it says, where it refuses, of when it may be asked again."""
    adapter_rank: int = 0
    """The largest rank of adapters that it takes. 0: none."""


class StandIn:
    """Serves a model on a free port until it is closed."""

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        faults: Faults | None = None,
        name: str = "policy",
        port: int = 0,
        host: str = "127.0.0.1",
    ) -> None:
        self.model, self.tokenizer, self.faults, self.name = copy.deepcopy(model), tokenizer, faults or Faults(), name
        self.first = {key: tensor.clone() for key, tensor in self.model.state_dict().items()}
        parts = blueprint_of(self.model)
        assert not isinstance(parts, str), parts
        decoder = decoder_for(parts)
        assert not isinstance(decoder, str), decoder
        self.engine = CppEngine(self.model, parts, decoder, 4, threads=1)
        self.version, self.begun, self.pieces, self.updates, self.refused = "default", 0, 0, 0, 0
        self.seen: list[dict[str, Any]] = []
        self.adapters: dict[str, dict[str, torch.Tensor]] = {}
        """By their names, the layers that they change, whole."""
        self.unloaded: list[str] = []
        self.bytes_given = list[str]()
        self.lock, self.running = threading.Lock(), threading.Event()
        self.running.set()
        self.connections: set[Any] = set()
        self.server = ThreadingHTTPServer((host, port), handler(self))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()
        self.url = f"http://{host}:{self.server.server_address[1]}"

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
                self.adapters.clear()
        if body["model"] != self.name and body["model"] not in self.adapters:
            raise Answer(404, f"The model `{body['model']}` does not exist.")
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
                with self.adapted(body["model"]):
                    [(_, _, piece)] = self.engine.generate([rest], sampling)
                version = self.version
                self.pieces += 1
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
        choice: Any = {"token_ids": drawn, "logprobs": {"content": content}, "finish_reason": reason}
        choice |= {"weight_versions": spans}
        if self.faults.spoils_every and number % self.faults.spoils_every == 0:
            choice = self.faults.spoils(choice)
        if isinstance(choice, str):
            raise Answer(200, choice)
        return {"choices": [choice]}

    @contextmanager
    def adapted(self, name: str) -> Iterator[None]:
        """With the adapters of that name in the weights."""
        layers = self.adapters.get(name, {})
        own = {layer: self.model.get_submodule(layer).weight.clone() for layer in layers}
        with torch.no_grad():
            for layer, merged in layers.items():
                self.model.get_submodule(layer).weight.copy_(merged)
        try:
            yield
        finally:
            with torch.no_grad():
                for layer, weight in own.items():
                    self.model.get_submodule(layer).weight.copy_(weight)

    def load_adapter(self, name: str, path: Path) -> None:
        """As peft reads a folder."""
        assert damage(path) == ""
        config = json.loads((path / "adapter_config.json").read_text(encoding="utf-8"))
        assert config["r"] <= self.faults.adapter_rank
        tensors, end = load_file(path / "adapter_model.safetensors"), ".lora_A.weight"
        layers = [key.removesuffix(end) for key in tensors if key.endswith(end)]
        with self.lock:
            self.adapters[name] = {
                layer.removeprefix("base_model.model."): self.model.get_submodule(
                    layer.removeprefix("base_model.model.")
                ).weight
                + config["lora_alpha"] / config["r"] * tensors[f"{layer}.lora_B.weight"] @ tensors[layer + end]
                for layer in layers
            }

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
        if self.faults.forgets:
            return
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

    def receive(self, said: dict[str, Any]) -> None:
        """Takes weights that are sent."""
        self.steps.append("update")
        names, shapes, types = said["names"], said["shapes"], said["dtype_names"]
        for name, shape, kind in zip(names, shapes, types, strict=True):
            tensor = self.faults.wire.received()
            assert (list(tensor.shape), str(tensor.dtype)) == (shape, f"torch.{kind}")
            with self.lock, torch.no_grad():
                self.model.get_parameter(name).copy_(tensor)

    def answer(self, method: str, path: str, body: Any) -> Any:
        """What a path says."""
        faults = self.faults
        if path in faults.refuses:
            self.refused += 1
            raise Answer(*faults.refuses[path])
        if path in faults.changes:
            return faults.changes[path]
        if method == "GET" and path != "/get_world_size":
            context = self.model.config.max_position_embeddings
            mode = "raw_logprobs" if faults.raw else "processed_logprobs"
            models = {"dtype": "float32", "logprobs_mode": mode}
            lora = {"max_lora_rank": faults.adapter_rank} if faults.adapter_rank else None
            return {
                "/health": None,
                "/is_paused": {"is_paused": not self.running.is_set()},
                "/v1/models": {"data": [{"id": self.name, "max_model_len": context}]},
                "/server_info": {"vllm_config": {"model_config": models, "lora_config": lora}},
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
        elif path == "/get_world_size" and faults.wire:
            return {"world_size": 1}
        elif path == "/init_weight_transfer_engine" and faults.wire:
            said = body["init_info"]
            assert (said["rank_offset"], said["world_size"], said["packed"]) == (1, 2, False)
            faults.wire.joined(said["nccl_unique_id_b64"])
        elif path == "/start_weight_update" and faults.wire:
            self.steps = ["start"]
        elif path == "/update_weights" and faults.wire:
            self.receive(body["update_info"])
        elif path == "/finish_weight_update" and faults.wire:
            assert self.steps == ["start", "update"]
            self.updates += 1
        elif path == "/v1/load_lora_adapter" and faults.adapter_rank:
            self.load_adapter(body["lora_name"], Path(body["lora_path"]))
        elif path == "/v1/unload_lora_adapter" and faults.adapter_rank:
            self.unloaded.append(body["lora_name"])
            del self.adapters[body["lora_name"]]
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
                if status >= 400 and stand_in.faults.retry_after:
                    self.send_header("Retry-After", stand_in.faults.retry_after)
                self.send_header("Content-Length", str(len(said.encode())))
                self.end_headers()
                self.wfile.write(said.encode())

    return Handler
