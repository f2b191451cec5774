"""The learner in this process: a transformers model, its optimizer, a reference and a critic where a stage has them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.algorithm import Outputs
from groupwise.learners.config import Local
from groupwise.learners.critic import Critic
from groupwise.learners.layout import Layout, micro_batches
from groupwise.learners.loading import generation_stops, load_model, load_tokenizer
from groupwise.learners.logprobs import LanguageModel, States, token_outputs
from groupwise.learners.reference import frozen_copy, load_reference
from groupwise.protocols import CoefficientFunction, Network
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
        self._policy = LanguageModel(self.model)
        self._reference: LanguageModel | None = None
        self._reference_was_policy = False
        self._critic: Critic | None = None
        self._optimizer = self._new_optimizer()

    def start_stage(self, reference: str | None, critic: Network = "none") -> None:
        """See ``protocols.Learner``. Raises UserError for a reference that speaks other tokens than the policy, and for
        a critic on an architecture whose last hidden state can't be reached."""
        self._reference = None
        if reference == "":
            self.refresh_reference()
        elif reference is not None:
            self._reference_was_policy = False
            self._reference = load_reference(reference, self.model, self.tokenizer, self.config.dtype, self.device)
        self._critic = None if critic == "none" else Critic(self._policy, own=critic == "own")
        self._optimizer = self._new_optimizer()

    def refresh_reference(self) -> None:
        """See ``protocols.Learner``."""
        self._reference = None  # its memory is free before the copy is made
        self._reference = frozen_copy(self.model)
        self._reference_was_policy = True

    @torch.no_grad()
    def logprobs(self, rollouts: Sequence[Rollout], temperature: float, reference: bool = False) -> Tensor:
        """See ``protocols.Learner``. Raises RuntimeError for a reference that the stage did not start."""
        network = self._known_reference() if reference else self._policy
        result = self._zeros(rollouts)
        for rows in micro_batches(rollouts, self.config.tokens_per_micro_batch):
            layout = self._layout(rollouts, rows)
            part = token_outputs(network(layout), layout, temperature).logprobs
            result[torch.tensor(rows), : part.shape[1]] = part.to(result)
        return result

    @torch.no_grad()
    def values(self, rollouts: Sequence[Rollout]) -> Tensor:
        """See ``protocols.Learner``. Raises RuntimeError where the stage has no critic."""
        result = self._zeros(rollouts)
        for rows in micro_batches(rollouts, self.config.tokens_per_micro_batch):
            part = self._values(self._layout(rollouts, rows))
            result[torch.tensor(rows), : part.shape[1]] = part.to(result)
        return result

    def accumulate(
        self,
        rollouts: Sequence[Rollout],
        temperature: float,
        coefficients: CoefficientFunction,
        outputs: frozenset[str] = frozenset(),
        together: Sequence[int] | None = None,
    ) -> None:
        """See ``protocols.Learner``. Raises ValueError for the cotangent of an output that was not named, and
        RuntimeError for values or exact_kl without a critic or a reference."""
        for rows in micro_batches(rollouts, self.config.tokens_per_micro_batch, together):
            said = self._outputs(self._layout(rollouts, rows), temperature, outputs)
            send_back(said, coefficients(rows, said.map(lambda tensor: tensor.detach().cpu())))

    def _outputs(self, layout: Layout, temperature: float, wanted: frozenset[str]) -> Outputs:
        """One forward pass of the policy, and of the reference and the critic's own network where they are needed."""
        policy, reference = self._policy(layout), None
        if "exact_kl" in wanted:
            with torch.no_grad():
                reference = self._known_reference()(layout)
        said = token_outputs(policy, layout, temperature, reference, entropy_gradient="entropy" in wanted)
        values = self._values(layout, policy) if "values" in wanted else None
        return Outputs(said.logprobs, said.entropy, values, said.exact_kl)

    def _values(self, layout: Layout, policy: States | None = None) -> Tensor:
        if self._critic is None:
            raise RuntimeError('this stage has no critic: start_stage(critic="head") or critic="own" makes one')
        if self._critic.trunk is not None:
            return self._critic(layout, None)
        return self._critic(layout, policy or self._policy(layout))

    def step(self, count: float, learning_rate: float, critic_learning_rate: float = 0.0) -> dict[str, float]:
        """See ``protocols.Learner``. Policy and critic are clipped each by its own norm; where one of them is not
        finite, the update is left out and counted."""
        rates, most = (learning_rate, critic_learning_rate), self.config.max_grad_norm
        norms, finite = clipped_step(self._optimizer, count, rates, most)
        self.version += finite
        metrics = dict(zip(("grad_norm", "critic_grad_norm"), norms, strict=False))
        return metrics | {"learning_rate": learning_rate, "skipped_updates": float(not finite)}

    def weights(self) -> Mapping[str, Tensor]:
        """See ``protocols.Learner``."""
        return {name: parameter.detach() for name, parameter in self.model.named_parameters()}

    def save(self, directory: Path) -> None:
        """Writes what ``AutoModelForCausalLM`` and ``AutoTokenizer`` load: the same logits to the bit."""
        self.model.save_pretrained(directory, state_dict={k: v.clone() for k, v in self.model.state_dict().items()})
        self.tokenizer.save_pretrained(directory)

    def state(self) -> dict[str, Any]:
        """See ``protocols.Learner``. A reference with a directory of its own is read from there again, not kept."""
        kept = self._reference.model.state_dict() if self._reference and self._reference_was_policy else None
        critic = self._critic.state_dict() if self._critic else None
        return {"optimizer": self._optimizer.state_dict(), "reference": kept, "critic": critic, "version": self.version}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state``, on the weights it was taken with, in a stage that was started alike."""
        if state["reference"] is not None:
            self.refresh_reference()
            self._known_reference().model.load_state_dict(state["reference"])
        if self._critic is not None:
            self._critic.load_state_dict(state["critic"])
        self._optimizer.load_state_dict(state["optimizer"])
        self.version = state["version"]

    def _known_reference(self) -> LanguageModel:
        if self._reference is None:
            raise RuntimeError('this stage has no reference policy: start_stage(reference="") makes one')
        return self._reference

    def _new_optimizer(self) -> torch.optim.Optimizer:
        networks = [self.model] if self._critic is None else [self.model, self._critic]
        return adamw(networks, self.config)

    def _layout(self, rollouts: Sequence[Rollout], rows: Sequence[int]) -> Layout:
        return Layout.of([rollouts[row] for row in rows], self.device)

    def _zeros(self, rollouts: Sequence[Rollout]) -> Tensor:
        shape = len(rollouts), max((len(rollout.tokens) for rollout in rollouts), default=0)
        return torch.zeros(shape, dtype=torch.float64 if self.config.dtype == "float64" else torch.float32)


def send_back(said: Outputs, cotangent: Outputs) -> None:
    """One backward pass from every output that has a cotangent, with the minus sign that makes the objective a loss."""
    given = {field.name: getattr(cotangent, field.name) for field in fields(Outputs)}
    given = {name: tensor for name, tensor in given.items() if tensor is not None}
    ends = {name: getattr(said, name) for name in given}
    for name, end in ends.items():
        if end is None or not end.requires_grad:
            raise ValueError(f"a cotangent of {name} would be lost: accumulate(outputs=...) must name it")
    torch.autograd.backward(list(ends.values()), [-given[name].to(end) for name, end in ends.items()])


def adamw(networks: Sequence[nn.Module], config: Local) -> torch.optim.Optimizer:
    """With a parameter group for each network."""
    groups = [{"params": list(network.parameters())} for network in networks]
    return torch.optim.AdamW(groups, lr=0.0, betas=config.betas, weight_decay=config.weight_decay, fused=True)


def clipped_step(
    optimizer: torch.optim.Optimizer, count: float, rates: Sequence[float], max_norm: float
) -> tuple[list[float], bool]:
    """One update, each parameter group at its rate; the groups' gradient norms, and whether it was made.

    Gradients are divided by ``count`` and clipped group by group; one that is not finite leaves the update out.
    """
    norms = []
    for group, rate in zip(optimizer.param_groups, rates, strict=False):
        group["lr"] = rate
        norms.append(divide_and_clip(group["params"], count, max_norm))
    finite = all(norm < float("inf") for norm in norms)
    if finite:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norms, finite


def divide_and_clip(parameters: Sequence[nn.Parameter], count: float, max_norm: float) -> float:
    """The norm of the gradients after their division by ``count``, before they are scaled down to ``max_norm``."""
    present = [parameter for parameter in parameters if parameter.grad is not None]
    if not present:
        return 0.0
    torch._foreach_div_([parameter.grad for parameter in present if parameter.grad is not None], max(count, 1e-12))
    return float(nn.utils.clip_grad_norm_(present, max_norm or float("inf")))


def pick_device(name: str) -> str:
    """``auto`` becomes cuda where there is one, else cpu."""
    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "cpu"


def machine() -> dict[str, Any]:
    """What a result file says of where it was made."""
    import platform

    cpu = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return {"cpu": cpu or platform.processor(), "cores": os.cpu_count(), "gpu": gpu, "system": platform.platform()}
