"""Rollouts as padded token ids, and the positions in them that predict a sampled token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn

from groupwise.types import Rollout


@dataclass(frozen=True)
class Support:
    """The ids that each of N tokens was drawn from, one after the other; a token with none had the whole vocabulary."""

    ids: Tensor  # [sum of sizes] int64
    sizes: Tensor  # [N] int64

    @staticmethod
    def of(rollouts: Sequence[Rollout], targets: Tensor) -> Support | None:
        """Of the sampled tokens, ``targets`` ``[N]``; None where no rollout has one.

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
        """Of the tokens in ``place``."""
        start = int(self.sizes[: place.start].sum())
        sizes = self.sizes[place]
        return Support(self.ids[start : start + int(sizes.sum())], sizes)

    def inside(self, vocabulary: int, device: torch.device) -> Tensor:
        """``[N, vocabulary]`` bool."""
        ids, sizes = self.ids.to(device), self.sizes.to(device)
        inside = (sizes == 0)[:, None].repeat(1, vocabulary)
        inside[torch.arange(len(sizes), device=device).repeat_interleave(sizes), ids] = True
        return inside


@dataclass(frozen=True)
class Layout:
    """A micro-batch of B rollouts, of whose tokens the policy sampled N.

    Padding is on the right: under a causal mask no real token can see it.
    """

    ids: Tensor  # [B, P + T] prompt and what follows it
    rows: Tensor  # [N] of each sampled token
    places: Tensor  # [N] of the token before it, whose hidden state predicts it
    targets: Tensor  # [N] its id
    mask: Tensor  # [B, T]
    support: Support | None

    @staticmethod
    def of(rollouts: Sequence[Rollout], device: torch.device | str) -> Layout:
        """Raises ValueError for a support that does not fit its tokens."""
        sequences = [torch.tensor([*rollout.prompt.tokens, *rollout.tokens]) for rollout in rollouts]
        ids = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
        mask = nn.utils.rnn.pad_sequence([torch.tensor(rollout.mask) for rollout in rollouts], batch_first=True)
        rows, places = mask.nonzero(as_tuple=True)
        places = places + torch.tensor([len(rollout.prompt.tokens) for rollout in rollouts])[rows] - 1
        targets = ids[rows, places + 1]
        support = Support.of(rollouts, targets)
        ids, rows, places, targets, mask = (part.to(device) for part in (ids, rows, places, targets, mask))
        return Layout(ids, rows, places, targets, mask, support)

    def spread(self, values: Tensor) -> Tensor:
        """``[N]`` values of the sampled tokens as ``[B, T]``, 0 elsewhere."""
        return values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)


def micro_batches(
    rollouts: Sequence[Rollout], budget: int, together: Sequence[int] | None = None
) -> Iterator[list[int]]:
    """Row numbers, longest sequences first, so that each padded rectangle has at most ``budget`` tokens.

    Rows with one number in ``together`` stay together; where they exceed the budget by themselves they go alone.
    """
    lengths = [len(rollout.prompt.tokens) + len(rollout.tokens) for rollout in rollouts]
    sets: dict[int, list[int]] = {}
    for row in sorted(range(len(rollouts)), key=lambda row: (-lengths[row], row)):
        sets.setdefault(row if together is None else together[row], []).append(row)
    batch: list[int] = []
    for rows in sets.values():  # in the order of their longest rows
        if batch and (len(batch) + len(rows)) * lengths[batch[0]] > budget:
            yield batch
            batch = []
        batch = batch + rows
    if batch:
        yield batch
