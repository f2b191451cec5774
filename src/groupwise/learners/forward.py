"""This module goes forward through the networks of a stage: the policy, its reference and its critic, wherever their
parameters lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.errors import UserError
from groupwise.learners.critic import Critic
from groupwise.learners.logprobs import LanguageModel, States, token_outputs
from groupwise.learners.lora import PastPolicy
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.placement import Placement
from groupwise.learners.reference import as_reference_reads
from groupwise.types import Rollout

Reference = LanguageModel | PastPolicy


def logprobs_of(placement: Placement, network: Reference, micro_batch: MicroBatch, temperature: float) -> Tensor:
    """Returns the log-probability of every sampled token at this temperature, ``[B, T]``."""
    return placement.run(
        model_of(network), lambda: token_outputs(network(micro_batch), micro_batch, temperature).logprobs
    )


def outputs_of(
    placement: Placement,
    networks: tuple[LanguageModel, Reference | None, Critic | None],
    rollouts: Sequence[Rollout],
    device: str,
    temperature: float,
    wanted: frozenset[str],
) -> Outputs:
    """Returns what is ``wanted`` of one forward pass of the policy, and of the reference and the critic's own network
    where they are needed."""
    policy, other, critic = networks
    micro_batch, reference = placement.micro_batch(rollouts, device), None
    if "exact_kl" in wanted:
        reference = _states(placement, known_reference(other), _as_reference_reads(placement, rollouts, device))
    inside = "values" in wanted and known_critic(critic).trunk is None

    def forward() -> tuple[Tensor | None, ...]:
        states = policy(micro_batch)
        said = token_outputs(states, micro_batch, temperature, reference, entropy_gradient="entropy" in wanted)
        values = known_critic(critic)(micro_batch, states) if inside else None
        return said.logprobs, said.entropy, values, said.exact_kl

    logprobs, entropy, values, exact_kl = placement.run(policy.model, forward)
    if "values" in wanted and not inside:
        values = values_of(placement, policy, critic, micro_batch)
    assert logprobs is not None
    return Outputs(logprobs, entropy, values, exact_kl)


def values_of(placement: Placement, policy: LanguageModel, critic: Critic | None, micro_batch: MicroBatch) -> Tensor:
    """Returns ``[B, T]`` of the critic's own trunk, or of the policy's."""
    known = known_critic(critic)
    own = known.trunk
    return placement.run(
        policy.model if own is None else own, lambda: known(micro_batch, policy(micro_batch) if own is None else None)
    )


@torch.no_grad()
def _states(placement: Placement, network: Reference, micro_batch: MicroBatch) -> States:
    """Returns what a reference found, with a head that stays whole."""
    return placement.run(model_of(network), lambda: network(micro_batch))


def _as_reference_reads(placement: Placement, rollouts: Sequence[Rollout], device: str) -> MicroBatch:
    """Raises UserError where a reference's states would lie in other processes than the policy's."""
    seen = as_reference_reads(rollouts)
    if placement.side_by_side < placement.count and any(
        new is not old for new, old in zip(seen, rollouts, strict=True)
    ):
        raise UserError(
            "learner.context: an exact KL with a reference that reads other prompts than the policy can't be computed "
            'in parts of a sequence; expected learner.context 1, or algorithm.kl.estimator "k3"'
        )
    return placement.micro_batch(seen, device)


def new_critic(placement: Placement, policy: LanguageModel, own: bool, placed: bool) -> Critic:
    """Makes a critic beside a policy whose parameters are ``placed``, or whole in every process. ``own``: on a copy of
    the policy's present trunk."""
    with torch.no_grad():
        width = placement.run(policy.model, policy.width)
    trunk = placement.copied(policy.model, trunk=True) if own and width else None
    critic = Critic(policy, width, trunk)
    if placed:
        placement.place(critic.head)
        if critic.trunk is not None:
            placement.compute_in_parts(critic.trunk, critic.backbone)
    return critic


def let_go(placement: Placement, policy: LanguageModel, critic: Critic | None) -> None:
    """Drops what a forward pass without a backward one has left whole of networks whose parameters an update
    changes."""
    for model in (policy.model, *(() if critic is None else (critic.head, critic.trunk))):
        placement.let_go(model)


def model_of(network: Reference) -> Any:
    """Returns the model that a network computes with."""
    return (network.policy if isinstance(network, PastPolicy) else network).model


def known_critic(critic: Critic | None) -> Critic:
    """Raises RuntimeError where the stage has none."""
    if critic is None:
        raise RuntimeError('this stage has no critic: start_stage(critic="head") or critic="own" makes one')
    return critic


def known_reference(reference: Reference | None) -> Reference:
    """Raises RuntimeError where the stage has none."""
    if reference is None:
        raise RuntimeError('this stage has no reference policy: start_stage(reference="") makes one')
    return reference
