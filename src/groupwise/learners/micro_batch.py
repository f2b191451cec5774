"""A micro-batch is rollouts as token ids, packed and padded, and the states in them that are read for each sampled
token."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from groupwise.networks.packing import Packing
from groupwise.types import Rollout


@dataclass(frozen=True)
class Support:
    """The ids that each of N tokens was drawn from, one after the other; a token with none had the whole vocabulary."""

    ids: Tensor  # [sum of sizes] int64
    sizes: Tensor  # [N] int64

    @staticmethod
    def of(rollouts: Sequence[Rollout], targets: Tensor) -> Support | None:
        """Returns the support of the sampled tokens, ``targets`` ``[N]``; None where no rollout has one.

        Raises ValueError for a token outside the set it is said to have been drawn from: its probability is 0.
        """
        if all(rollout.support is None for rollout in rollouts):
            return None
        kept: list[tuple[int, ...]] = []
        for rollout in rollouts:
            each = rollout.support if rollout.support is not None else ((),) * len(rollout.tokens)
            kept.extend(ids for ids, sampled in zip(each, rollout.mask, strict=True) if sampled)
        ids = torch.tensor(list(chain.from_iterable(kept)), dtype=torch.long)
        sizes = torch.tensor([len(part) for part in kept], dtype=torch.long)
        owners = torch.arange(len(sizes)).repeat_interleave(sizes)
        held = sizes == 0
        held[owners[ids == targets[owners]]] = True
        if not held.all():
            token = int(targets[~held][0])
            raise ValueError(f"token {token} is not in the support it was drawn from; Rollout.support must hold it")
        return Support(ids, sizes)

    def part(self, place: slice) -> Support:
        """Returns that of the tokens in ``place``."""
        start = int(self.sizes[: place.start].sum())
        sizes = self.sizes[place]
        return Support(self.ids[start : start + int(sizes.sum())], sizes)

    def inside(self, vocabulary: int, device: torch.device) -> Tensor:
        """Returns ``[N, vocabulary]`` bool."""
        ids, sizes = self.ids.to(device), self.sizes.to(device)
        inside = (sizes == 0)[:, None].repeat(1, vocabulary)
        inside[torch.arange(len(sizes), device=device).repeat_interleave(sizes), ids] = True
        return inside


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch of B rollouts, of whose tokens the policy sampled N.

    A policy's state is read at the token before, which predicts it; a scorer's (``after``) at the token itself. What
    no such state can see is left out of the packing. Padding is on the right, where under a causal mask no real token
    can see it.
    """

    packing: Packing
    where: Tensor  # [N] in the packing, of the state that is read
    ids: Tensor  # [B, P + T] prompt and what follows it, padded
    rows: Tensor  # [N] of each sampled token
    places: Tensor  # [N] in its row of ``ids``, of the state that is read
    targets: Tensor  # [N] its id
    mask: Tensor  # [B, T]
    support: Support | None

    @staticmethod
    def of(rollouts: Sequence[Rollout], device: torch.device | str, after: bool = False) -> MicroBatch:
        """Raises ValueError for a support that does not fit its tokens."""
        sequences = [torch.tensor([*rollout.prompt.tokens, *rollout.tokens]) for rollout in rollouts]
        ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.tensor(rollout.mask) for rollout in rollouts], batch_first=True)
        rows, steps = mask.nonzero(as_tuple=True)
        places = steps + torch.tensor([len(rollout.prompt.tokens) for rollout in rollouts])[rows]
        targets = ids[rows, places]
        support = Support.of(rollouts, targets)
        pairs = [(rollout.prompt.tokens, _seen(rollout, after)) for rollout in rollouts]
        packing = Packing.of(pairs, device, [rollout.prompt.key for rollout in rollouts])
        starts, ends = torch.tensor(packing.starts), torch.tensor(packing.ends)
        where = starts[rows] + steps
        if not after:
            places, where = places - 1, torch.where(steps == 0, ends[rows], where - 1)
        where, ids, rows, places, targets, mask = (x.to(device) for x in (where, ids, rows, places, targets, mask))
        return MicroBatch(packing, where, ids, rows, places, targets, mask, support)

    def spread(self, values: Tensor) -> Tensor:
        """Returns ``[N]`` values of the sampled tokens as ``[B, T]``, 0 elsewhere."""
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)


def _seen(rollout: Rollout, after: bool) -> tuple[int, ...]:
    """Tokens after the prompt that a state which is read can see."""
    return rollout.tokens[: rollout.last + after] if any(rollout.mask) else ()
