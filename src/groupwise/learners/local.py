"""The learner in this process: a transformers model, its optimizer, and a frozen reference when one is needed."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithm import Outputs
from groupwise.learners.config import Local
from groupwise.learners.loading import generation_stops, load_model, load_tokenizer
from groupwise.learners.logprobs import TokenLogprobs
from groupwise.protocols import CoefficientFunction
from groupwise.types import Rollout


class LocalLearner:
    """A ``protocols.Learner``."""

    def __init__(self, config: Local, directory: Path | str) -> None:
        if config.threads:
            torch.set_num_threads(config.threads)
        self.config = config
        self.device = pick_device(config.device)
        self.model = load_model(directory, config.dtype, self.device)
        self.tokenizer = load_tokenizer(directory)
        self.context_tokens = int(self.model.config.get_text_config().max_position_embeddings)
        self.stop_tokens = generation_stops(self.model)
        self.version = 0
        self._policy = TokenLogprobs(self.model)
        self._reference: TokenLogprobs | None = None
        self._optimizer = self._new_optimizer()

    def start_stage(self, reference: bool) -> None:
        """A fresh optimizer and, where the stage needs one, the present policy as its frozen reference."""
        self._optimizer = self._new_optimizer()
        self._reference = TokenLogprobs(copy.deepcopy(self.model).requires_grad_(False)) if reference else None

    @torch.no_grad()
    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """See ``protocols.Learner``. Raises RuntimeError for a reference that the stage did not start."""
        network = self._reference if reference else self._policy
        if network is None:
            raise RuntimeError("this stage has no reference policy: start_stage(reference=True) makes one")
        result = torch.zeros(_shape(rollouts), dtype=torch.float64 if self.config.dtype == "float64" else torch.float32)
        for rows in micro_batches(rollouts, self.config.tokens_per_micro_batch):
            part, _ = network([rollouts[row] for row in rows], temperature)
            result[torch.tensor(rows), : part.shape[1]] = part.to(result)
        return result

    def accumulate(self, rollouts: Sequence[Rollout], temperature: float, coefficients: CoefficientFunction) -> None:
        """See ``protocols.Learner``. Raises NotImplementedError for a cotangent of anything but log-probabilities."""
        for rows in micro_batches(rollouts, self.config.tokens_per_micro_batch):
            logprobs, entropy = self._policy([rollouts[row] for row in rows], temperature)
            cotangent = coefficients(rows, Outputs(logprobs.detach().cpu(), entropy.detach().cpu()))
            if cotangent.entropy is not None or cotangent.values is not None:
                raise NotImplementedError("this learner sends back cotangents of log-probabilities only")
            logprobs.backward(-cotangent.logprobs.to(logprobs))

    def step(self, count: float, learning_rate: float) -> dict[str, float]:
        """See ``protocols.Learner``. An update whose gradient is not finite is left out and counted."""
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        torch._foreach_div_(gradients, max(count, 1e-12))
        norm = float(nn.utils.clip_grad_norm_(parameters, self.config.max_grad_norm or float("inf")))
        finite = norm < float("inf")
        if finite:
            for group in self._optimizer.param_groups:
                group["lr"] = learning_rate
            self._optimizer.step()
            self.version += 1
        self._optimizer.zero_grad(set_to_none=True)
        return {"grad_norm": norm, "learning_rate": learning_rate, "skipped_updates": float(not finite)}

    def weights(self) -> Mapping[str, Tensor]:
        """See ``protocols.Learner``."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def save(self, directory: Path) -> None:
        """Writes what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load: the same logits to the bit."""
        self.model.save_pretrained(directory, state_dict={k: v.clone() for k, v in self.model.state_dict().items()})
        self.tokenizer.save_pretrained(directory)

    def state(self) -> dict[str, Any]:
        """Everything beside the policy's weights that the next step depends on."""
        reference = self._reference.model.state_dict() if self._reference else None
        return {"optimizer": self._optimizer.state_dict(), "reference": reference, "version": self.version}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, on the weights it was taken with."""
        self._optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]
        if state["reference"] is not None:
            self.start_reference(state["reference"])

    def start_reference(self, weights: Mapping[str, Tensor]) -> None:
        """A frozen reference with the given weights."""
        model = copy.deepcopy(self.model).requires_grad_(False)
        model.load_state_dict(weights)
        self._reference = TokenLogprobs(model)

    def _new_optimizer(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(
            self.model.parameters(), lr=0.0, betas=self.config.betas, weight_decay=self.config.weight_decay, fused=True
        )


def pick_device(name: str) -> str:
    """``auto`` becomes cuda where there is one, else cpu."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def micro_batches(rollouts: Sequence[Rollout], budget: int) -> Iterator[list[int]]:
    """Row numbers, longest sequences together, so that each padded rectangle has at most ``budget`` tokens."""
    lengths = [len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts]
    order = sorted(range(len(rollouts)), key=lambda row: (-lengths[row], row))
    while order:
        take = max(1, budget // lengths[order[0]])
        yield order[:take]
        order = order[take:]


def _shape(rollouts: Sequence[Rollout]) -> tuple[int, int]:
    return len(rollouts), max((len(rollout.tokens) for rollout in rollouts), default=0)


def machine() -> dict[str, Any]:
    """What a result file says of where it was made."""
    import platform

    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.platform()}
