"""This module makes frozen policies: the present one, or another model that speaks the same tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from groupwise.errors import UserError
from groupwise.kernels.tile_threads import TileThreads
from groupwise.learners.loading import load_model, load_tokenizer
from groupwise.learners.logprobs import LanguageModel
from groupwise.learners.placement import ONE_PROCESS, Placement
from groupwise.output.counting import counted
from groupwise.types import Rollout


def frozen_copy(network: LanguageModel, placement: Placement = ONE_PROCESS) -> LanguageModel:
    """The network as it is now, without gradient, its parameters where those of the network lie."""
    frozen = network.on(placement.copied(network.model).requires_grad_(False))
    placement.compute_in_parts(frozen.model, frozen.backbone)
    return frozen


def as_reference_reads(rollouts: Sequence[Rollout]) -> list[Rollout]:
    """Returns the same tokens behind the prompts that the reference policy reads."""
    told = [replace(rollout.prompt, tokens=rollout.prompt.reference_tokens) for rollout in rollouts]
    pairs = zip(rollouts, told, strict=True)
    return [replace(rollout, prompt=prompt) if prompt.tokens else rollout for rollout, prompt in pairs]


def load_reference(
    source: str,
    policy: Any,
    tokenizer: Any,
    dtype: str,
    device: str,
    pool: TileThreads | None = None,
    placement: Placement = ONE_PROCESS,
) -> LanguageModel:
    """The model in a directory or of a hub name, as reference for ``policy``; where its parameters lie, ``placement``
    says.

    Raises UserError where there is none, or where its token ids mean something else than the policy's.
    """
    check_same_ids(source, load_tokenizer(source).get_vocab(), tokenizer.get_vocab())
    several = placement.count > 1
    model = load_model(source, dtype, device, mapped=several)
    theirs, ours = (network.config.get_text_config().vocab_size for network in (model, policy))
    if theirs != ours:
        raise UserError(
            f"reference {source}: its vocabulary has {counted(theirs, 'entry', 'entries')} and the policy's {ours}; "
            "expected the same size: resize one of the two output matrices"
        )
    placement.place(model.requires_grad_(False), dtype)
    network = LanguageModel(model, pool=pool, placement=placement)
    placement.check(network.backbone)
    return network


def check_same_ids(source: str, theirs: dict[str, int], ours: dict[str, int]) -> None:
    """Raises UserError where two tokenizers differ, naming the first difference."""
    different = [token for token in sorted(theirs.keys() | ours.keys()) if theirs.get(token) != ours.get(token)]
    if different:
        token = different[0]
        raise UserError(
            f"{source}: its tokenizer is another one: {counted(len(different), 'token')} not the same, {token!r} first "
            f"(id {theirs.get(token, 'none')} there, {ours.get(token, 'none')} in the policy's); expected a model with "
            "the policy's tokenizer"
        )
