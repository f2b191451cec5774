"""An engine whose completions vLLM servers sample: weights go to them through a folder, ids and log-probabilities come
back, and after each load a completion is scored by the learner's own model."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from groupwise.engines.low_rank import LowRank, frozen_of, low_rank_of
from groupwise.engines.nccl_transfer import Transfers
from groupwise.engines.published import DTYPES, Publisher
from groupwise.engines.stops import Spelling
from groupwise.engines.vllm_client import ServerError
from groupwise.engines.vllm_probe import DRAWN, PROMPT, Probe, mark_of
from groupwise.engines.vllm_servers import Rules, Server, Servers, Weights
from groupwise.engines.vllm_stream import StreamContext, VLLMStream
from groupwise.errors import UserError
from groupwise.protocols import RolloutEngine, Stream
from groupwise.types import Sampling

OTHER_TEMPERATURE = 0.7
GAPS = {torch.float32: 1e-3, torch.float64: 1e-3}
COARSE = 5e-2
_newest_of: dict[str, weakref.ref[VLLMEngine]] = {}
"""The engine of this process that gave a server, by its address, weights last."""


class VLLMEngine(RolloutEngine):
    """Samples on servers. ``model`` is the learner's where it is in this process: a twin of it scores the probes."""

    def __init__(
        self,
        rules: Rules,
        servers: Servers,
        model: Any,
        model_config: Any,
        context_tokens: int,
        spelling: Spelling,
        note: Callable[[str], None],
    ) -> None:
        self.rules, self.servers, self.model, self.spelling, self.note = rules, servers, model, spelling, note
        self.version, self.context_tokens = 0, context_tokens
        self.vocabulary = int(model_config.get_text_config().vocab_size)
        self.known: set[int] = set()
        """Versions that servers were given."""
        self.gaps: list[float] = []
        """Of each load: how far the worst server and the learner were apart on a greedy completion, in nats."""
        self._publisher = Publisher(rules.weights, model_config, self._dtype())
        self._weights: Weights | None = None
        self._frozen: tuple[int, Weights] | None = None
        """Of adapters: the mark of what is frozen, and how servers are given it."""
        self.transfers = Transfers()
        self._probe: Probe | None = None
        self._lock = threading.Lock()

    def load(self, weights: Iterable[tuple[str, Tensor]], version: int) -> None:
        """Publishes weights and gives them to every server, where they have not this version already. What is under
        way is waited for, or goes on with them (``VLLMServers.in_flight``). Raises UserError where a server does not
        say what the learner's model says of a completion."""
        with self._lock:
            if self._weights is not None and self.version == version and self._owns():
                return
            if self.model is None:
                self._give(self._whole(weights, version))
                return
            given = list(weights)
            beside = low_rank_of(given, self.model)
            self._probe = self._probe or Probe(self.model)
            self._probe.take(given)
            frozen = given if beside is None else frozen_of(given)
            if beside is None or not self._take_adapters(beside):
                whole = frozen if beside is None else beside.merged(frozen)
                self._give(self._whole(whole, version))
                return
            mark = mark_of(frozen_of(self.model.named_parameters()))
            if self._frozen is None or self._frozen[0] != mark:
                self._frozen = mark, self._whole(frozen, version)
            adapter = self._publisher.publish_adapter(beside, version)
            self._give(replace(self._frozen[1], version=version, adapter=adapter))

    def _take_adapters(self, beside: LowRank) -> bool:
        """Says whether every server takes them; says once which one does not."""
        small = [server for server in self.servers.all if server.adapter_rank < beside.rank]
        for server in () if self.known else small[:1]:
            self.note(
                f"engine: {server.url} takes no adapters of rank {beside.rank}; whole weights go to the servers, with "
                f"the adapters rounded into them (groupwise serve MODEL --vllm --lora_rank {beside.rank} takes them)"
            )
        return not small

    def _whole(self, weights: Iterable[tuple[str, Tensor]], version: int) -> Weights:
        """Whole weights, published, or as what sends them."""
        if self.rules.transfer == "folder":
            return Weights(version, self._publisher.publish(weights, version), version)
        tensors = self._publisher.completed(weights)
        return Weights(version, None, version, send=lambda client, anew: self.transfers.send(client, tensors, anew))

    def load_directory(self, directory: Path) -> None:
        """Publishes a model that no learner holds, and gives it to every server."""
        from safetensors import safe_open

        def tensors() -> Iterable[tuple[str, Tensor]]:
            for path in sorted(directory.glob("*.safetensors")):
                with safe_open(path, "pt") as file:
                    yield from ((name, file.get_tensor(name)) for name in file.keys())  # noqa: SIM118 - no mapping

        if not list(directory.glob("*.safetensors")):
            raise UserError(f"engine: {directory} holds no safetensors; vLLM servers are given a model as such files")
        self.load(tensors(), 0)

    def stream(self, sampling: Sampling, every_token: bool = False) -> Stream:
        """Opens a stream of completions (``protocols.RolloutEngine``); ``VLLMStream`` says what is special. Raises
        UserError for a narrowed choice: a server does not say what it chose from."""
        if sampling.top_k or sampling.top_p < 1 or sampling.min_p:
            raise UserError(
                "engine: top_k, top_p and min_p: vLLM servers do not tell which tokens a choice was narrowed to, over "
                "which the learner has to renormalise; set them off, or sample with engine=Native()"
            )
        with self._lock:
            if self._weights is not None and not self._owns():
                if self._weights.send:
                    raise UserError(
                        "engine.transfer nccl: another engine of this process has given these servers its weights; "
                        "expected engine.transfer folder, or servers for each"
                    )
                self._give(self._weights, again=True)
        means = StreamContext(
            self.servers,
            self.rules,
            self.context_tokens,
            self.vocabulary,
            self.spelling,
            lambda: self.version,
            self.known,
            self.renew,
        )
        return VLLMStream(means, sampling, every_token)

    def renew(self, server: Server, updates: int) -> None:
        """Gives one server the present weights again: it has begun anew since so many updates, unless another
        completion has seen that before."""
        with server.lock:
            if self._weights is None or server.updates != updates:
                return
            if self._weights.send:  # what it would send are the learner's weights of now
                self.servers.lose(server, f"{server.url}: it began anew")
            else:
                server.update(self._weights, again=True)

    def _give(self, weights: Weights, again: bool = False) -> None:
        first = not self.known
        self.known |= {weights.version, weights.place_version}  # a completion may name them before all servers do
        with self.servers.drained() if self.rules.in_flight == "drain" else nullcontext():
            self.servers.update(weights, again or not self._owns())
            self._weights, self.version = weights, weights.version
        for server in self.servers.all:
            _newest_of[server.url] = weakref.ref(self)
        self._compare(first)

    def _owns(self) -> bool:
        """Says whether the servers have this engine's weights, and not those of another engine of this process."""
        owners = (_newest_of.get(server.url) for server in self.servers.all)
        return all(owner is not None and owner() is self for owner in owners)

    def _dtype(self) -> str:
        if self.model is None:
            said = str(self.servers.all[0].told.get("dtype", "float32")).removeprefix("torch.")
        else:
            said = str(self.model.get_output_embeddings().weight.dtype).removeprefix("torch.")
        return said if said in DTYPES else "float32"

    def _limit(self) -> float:
        """Returns how far a server may be from the learner: more where either computes coarsely."""
        told = {str(server.told.get("dtype", "float32")).removeprefix("torch.") for server in self.servers.all}
        limit = GAPS.get(self.model.get_output_embeddings().weight.dtype, COARSE)
        return self.rules.largest_gap or (limit if told <= {"float32", "float64"} else COARSE)

    def _compare(self, first: bool) -> None:
        """Scores a completion of each server. Raises UserError where they differ."""
        probe = self._probe
        if probe is None or not probe.is_current or self.context_tokens < PROMPT + DRAWN:
            return
        worst = 0.0
        for server in self.servers.all:
            if server.lost:
                continue
            found = self._probed(probe, server, first)
            if isinstance(found, ServerError):
                self.servers.lose(server, str(found))
                continue
            gap, heated, raw = found
            worst = max(worst, gap)
            self._refuse(server, gap, heated, raw)
        self.gaps.append(worst)

    def _probed(self, probe: Probe, server: Server, first: bool) -> tuple[float, float, float] | ServerError:
        """Returns how far a server and the weights are apart when it draws greedily, when it samples, and when what it
        says then is read as of temperature 1; or the error of the last attempt."""
        failed = ServerError(server.url, "was never asked")
        for _ in range(self.rules.attempts):
            try:
                gap = probe.gap(server, 0.0, 1.0)
                heated = probe.gap(server, OTHER_TEMPERATURE, OTHER_TEMPERATURE) if first else gap
                return gap, heated, probe.gap(server, OTHER_TEMPERATURE, 1.0) if heated > self._limit() else heated
            except ServerError as error:
                failed = error
                if not error.status:
                    break
        return failed

    def _refuse(self, server: Server, gap: float, heated: float, raw: float) -> None:
        limit = self._limit()
        if gap <= limit < heated and raw <= limit:
            raise UserError(
                f"engine: {server.url} gives raw log-probabilities: at temperature {OTHER_TEMPERATURE} they are those "
                "of temperature 1; start it with --logprobs-mode processed_logprobs (groupwise serve MODEL --vllm does)"
            )
        if gap > limit or heated > limit:
            raise UserError(
                f"engine: after version {self.version} was loaded {server.url} and the learner are "
                f"{max(gap, heated):.2g} nats apart on one completion, at most {limit:g} expected: a weight did not "
                "arrive (a head that is tied to the embeddings and that the server keeps a copy of is the usual one), "
                "the server runs another model, or it computes in a coarser type than the learner "
                "(--engine.largest_gap)"
            )
