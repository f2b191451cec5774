"""A micro-batch is rollouts as token ids, packed and padded, and the states in them that are read for each sampled
token."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from groupwise.networks.packing import Packing
from groupwise.types import Rollout

if TYPE_CHECKING:
    from groupwise.learners.context_group import ContextGroup


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

    def chosen(self, kept: Tensor) -> Support:
        """Returns that of the tokens where ``kept`` ``[N]`` is true."""
        kept = kept.cpu()
        return Support(self.ids[kept.repeat_interleave(self.sizes)], self.sizes[kept])

    def inside(self, vocabulary: int, device: torch.device) -> Tensor:
        """Says of each token and id whether the token was drawn from it, ``[N, vocabulary]``; a token without a support
        was drawn from all."""
        ids, sizes = self.ids.to(device), self.sizes.to(device)
        inside = (sizes == 0)[:, None].repeat(1, vocabulary)
        inside[torch.arange(len(sizes), device=device).repeat_interleave(sizes), ids] = True
        return inside


@dataclass(frozen=True)
class MicroBatch:
    """A micro-batch of B rollouts, of whose tokens the policy sampled N. They are S sequences: one each, and more of an
    episode whose conversation was written anew.

    A policy's state is read at the token before, which predicts it; a scorer's (``after``) at the token itself. What
    no such state can see is left out of the packing. Padding is on the right, where under a causal mask no real token
    can see it.
    """

    packing: Packing
    where: Tensor  # [N] in the packing, of the state that is read
    ids: Tensor  # [S, P + T] prompt and what follows it, padded
    rows: Tensor  # [N] the sequence of each sampled token
    places: Tensor  # [N] in its row of ``ids``, of the state that is read
    targets: Tensor  # [N] its id
    mask: Tensor  # [B, T]
    support: Support | None
    context: ContextGroup | None = None
    """The processes that compute it together, of which this one has N of the sampled tokens; None: it has all."""

    @staticmethod
    def of(rollouts: Sequence[Rollout], device: torch.device | str, after: bool = False) -> MicroBatch:
        """Raises ValueError for a support that does not fit its tokens."""
        sequences = [each for rollout in rollouts for each in _sequences(rollout)]
        ids = _padded([(*each.prompt, *each.tokens) for each in sequences], torch.long)
        rows, steps = _padded([each.mask for each in sequences], torch.bool).nonzero(as_tuple=True)
        places = steps + torch.tensor([len(each.prompt) for each in sequences])[rows]
        targets = ids[rows, places]
        support = Support.of(rollouts, targets)
        pairs = [(each.prompt, each.seen(after)) for each in sequences]
        # A prompt of one token, as documents have, is not worth sharing: alone with its completion it is one sequence.
        keys = [each.key if len(each.prompt) > 1 else row for row, each in enumerate(sequences)]
        packing = Packing.of(pairs, device, keys)
        mask = _padded([rollout.mask for rollout in rollouts], torch.bool)
        starts, ends = torch.tensor(packing.starts), torch.tensor(packing.ends)
        where = starts[rows] + steps
        if not after:
            places, where = places - 1, torch.where(steps == 0, ends[rows], where - 1)
        where, ids, rows, places, targets, mask = (x.to(device) for x in (where, ids, rows, places, targets, mask))
        return MicroBatch(packing, where, ids, rows, places, targets, mask, support)

    def divided(self, context: ContextGroup) -> MicroBatch:
        """Returns it with those of the N sampled tokens alone whose states this process computes of all that compute it
        together. What it spreads is of all of them, in each."""
        here = context.own(len(self.packing.tokens))
        kept = (self.where >= here.start) & (self.where < here.stop)
        mask = torch.zeros_like(self.mask).masked_scatter(self.mask, kept)
        rows, places, targets = self.rows[kept], self.places[kept], self.targets[kept]
        support = self.support and self.support.chosen(kept)
        return MicroBatch(self.packing, self.where[kept], self.ids, rows, places, targets, mask, support, context)

    def spread(self, values: Tensor) -> Tensor:
        """Returns ``[N]`` values of the sampled tokens as ``[B, T]``, 0 elsewhere; of all processes that compute it
        together."""
        found = values.new_zeros(self.mask.shape).masked_scatter(self.mask, values)
        return found if self.context is None else self.context.total(found)


def zeros_for(rollouts: Sequence[Rollout], exact: bool) -> Tensor:
    """Returns ``[B, T]`` zeros, in float64 where what comes into them is ``exact``."""
    width = max((len(rollout.tokens) for rollout in rollouts), default=0)
    return torch.zeros(len(rollouts), width, dtype=torch.float64 if exact else torch.float32)


class _Sequence(NamedTuple):
    """This is what goes through the network as one."""

    prompt: tuple[int, ...]
    tokens: tuple[int, ...]
    mask: tuple[bool, ...]
    key: Hashable
    """Of the prompt: sequences with one key share it."""

    def seen(self, after: bool) -> tuple[int, ...]:
        """Returns the tokens after the prompt that a state which is read can see."""
        return self.tokens[: len(self.mask) - 1 - self.mask[::-1].index(True) + after] if any(self.mask) else ()


def _sequences(rollout: Rollout) -> Iterator[_Sequence]:
    """The first one, whose prompt other rollouts may share, and those that begin anew."""
    (prompt, tokens), *more = rollout.sequences
    yield _Sequence(prompt, tokens, rollout.mask[: len(tokens)], rollout.prompt.key)
    end = len(tokens)
    for prompt, tokens in more:
        start, end = end + len(prompt), end + len(prompt) + len(tokens)
        yield _Sequence(prompt, tokens, rollout.mask[start:end], prompt)


def _padded(rows: Sequence[Sequence[int]], kind: torch.dtype) -> Tensor:
    return nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=kind) for row in rows], batch_first=True)
