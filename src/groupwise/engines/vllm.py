"""This module is the engine slot for vLLM servers: plain options, no heavy import, none of vLLM."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from groupwise.errors import UserError
from groupwise.protocols import EngineConfig, RolloutEngine

KEY_VARIABLE = "GROUPWISE_VLLM_KEY"
"""Holds what servers that were started with ``--api-key`` want to hear."""


@dataclass(frozen=True)
class VLLMServers(EngineConfig):
    """Samples on vLLM servers, which take new weights from a folder that they and this process see."""

    urls: tuple[str, ...] = ("http://127.0.0.1:8000",)
    """Where they listen: http or https. ``groupwise serve MODEL --vllm`` starts one."""
    weights: str = "runs/weights"
    """The folder of published weights, of this run alone; each version is a directory, and the newest two are kept."""
    concurrent: Annotated[int, "[1, inf)"] = 64
    """Completions under way at once, on all servers together."""
    in_flight: Literal["drain", "keep"] = "drain"
    """What new weights do to completions under way: ``drain`` waits for them, ``keep`` lets them go on with the new
    weights from where they are; which tokens are whose stands in the ledger."""
    timeout_seconds: Annotated[float, "(0, inf)"] = 600.0
    """For one completion, and for one exchange of weights."""
    attempts: Annotated[int, "[1, inf)"] = 5
    """So often a completion is asked for before the run ends, where servers fail without dying."""
    transfer: Literal["folder", "nccl"] = "folder"
    """How weights move: by the folder; or from GPU to GPU by NCCL, which is experimental (docs/vllm.md)."""
    largest_gap: Annotated[float, "[0, inf)"] = 0.0
    """In nats, between a server and the learner on a greedy completion after each load; more ends the run. 0: 1e-3 in
    float32, 5e-2 in bfloat16."""

    def open(
        self,
        directory: Path | str,
        live: Any | None,
        tokenizer: Any,
        note: Callable[[str], None] = lambda text: None,
        *,
        dtype: str = "float32",
        device: str = "auto",
    ) -> RolloutEngine:
        """Asks every server what it is. Raises UserError for one that cannot be reached, or whose tokenizer, route or
        way of giving log-probabilities is another than a run needs."""
        from groupwise.engines.vllm_open import clients_of, open_engine
        from groupwise.engines.vllm_servers import Rules

        rules = Rules(
            Path(self.weights), self.concurrent, self.in_flight, self.attempts, self.largest_gap, self.transfer
        )
        clients = clients_of(self.urls, self.timeout_seconds, self.key())
        return open_engine(clients, rules, directory, live, tokenizer, note)

    def key(self) -> str:
        """Returns the servers' key: from the environment, so that it stands in no file. Raises UserError for one that
        no header can hold."""
        key = os.environ.get(KEY_VARIABLE, "")
        if not (key.isascii() and (key.isprintable() or not key)):
            raise UserError(f"{KEY_VARIABLE}: expected printable ASCII letters")
        return key
