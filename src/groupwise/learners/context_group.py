"""This module spreads the tokens of one micro-batch over several processes: each computes its own in every layer, and
in attention some heads for all tokens (Ulysses, arXiv 2309.14509).

Torch's own ``context_parallel`` knows neither packed sequences nor a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from groupwise.errors import UserError
from groupwise.networks.fused_blocks import Again
from groupwise.networks.trunk import Attend


@dataclass(frozen=True)
class ContextGroup:
    """These are ``count`` processes, this one the ``rank``-th of them, which compute one micro-batch together."""

    group: Any
    rank: int
    count: int

    def spans(self, length: int) -> list[slice]:
        """Returns which of so many tokens, or heads, belong to each process."""
        ends = [length * place // self.count for place in range(self.count + 1)]
        return [slice(*pair) for pair in pairwise(ends)]

    def own(self, length: int) -> slice:
        """Returns which of them belong to this process."""
        return self.spans(length)[self.rank]

    def total(self, tensor: Tensor) -> Tensor:
        """Returns the sum over processes. All of them have the cotangent of it, and each takes it for its own part."""
        found: Tensor = _Total.apply(tensor, self.group)
        return found

    def around(self, attend: Attend, length: int) -> Attend:
        """Returns an ``attend`` of this process's tokens, of one that is asked of all ``length`` tokens and of the
        heads that ``own`` gives this process."""
        tokens = _lengths(self.spans(length))

        def across(layer: int, q: Tensor, k: Tensor, v: Tensor, again: Again | None = None) -> Tensor:
            heads = _lengths(self.spans(q.shape[1]))
            if k.shape[1] % self.count:  # else not as many of a process's heads share each key
                k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
            spans = list(zip(*(self.spans(x.shape[1]) for x in (q, k, v)), strict=True))
            parts = [x[:, span] for each in spans for x, span in zip((q, k, v), each, strict=True)]
            inward = Exchange(self.group, self.rank, tokens, tuple(sum(_lengths(each)) for each in spans))
            whole: Tensor = _Exchanged.apply(torch.cat(parts, dim=1), inward, True)
            found = attend(layer, *(x.contiguous() for x in whole.split(_lengths(spans[self.rank]), dim=1)))
            own: Tensor = _Exchanged.apply(found, replace(inward, heads=heads), False)
            return own

        return across


def refuse_few_heads(context: int, heads: int) -> None:
    """Raises UserError where so many processes would divide fewer attention heads among them."""
    if heads < context:
        raise UserError(
            f"learner.context {context}: the model has {heads} attention heads, which processes divide among them; "
            f"expected at most {heads}"
        )


def _lengths(spans: Any) -> tuple[int, ...]:
    return tuple(span.stop - span.start for span in spans)


@dataclass(frozen=True)
class Exchange:
    """An exchange turns what each process has of its own tokens into what it has of its own heads, and back."""

    group: Any
    rank: int
    tokens: tuple[int, ...]
    """Of each process."""
    heads: tuple[int, ...]
    """Of each process."""

    def to_heads(self, x: Tensor) -> Tensor:
        """Returns ``[N, h, D]``, this process's heads of all tokens, of ``[n, H, D]``."""
        size, mine, own = x.shape[2], self.tokens[self.rank], self.heads[self.rank]
        sent = torch.cat([part.reshape(-1) for part in x.split(self.heads, dim=1)])
        lengths = [count * own * size for count in self.tokens]
        return self._swapped(sent, [mine * count * size for count in self.heads], lengths).view(-1, own, size)

    def to_tokens(self, x: Tensor) -> Tensor:
        """Returns ``[n, H, D]``, all heads of this process's tokens, of ``[N, h, D]``."""
        size, mine, own = x.shape[2], self.tokens[self.rank], self.heads[self.rank]
        lengths = [mine * count * size for count in self.heads]
        found = self._swapped(x.reshape(-1), [count * own * size for count in self.tokens], lengths)
        parts = zip(found.split(lengths), self.heads, strict=True)
        return torch.cat([part.view(mine, count, size) for part, count in parts], dim=1)

    def _swapped(self, sent: Tensor, lengths: list[int], given: list[int]) -> Tensor:
        """What all processes sent to this one, of which each sends so many numbers to each, and is given so many."""
        found = sent.new_empty(sum(given))
        dist.all_to_all_single(found, sent.contiguous(), given, lengths, group=self.group)
        return found


class _Exchanged(torch.autograd.Function):
    """This exchanges tokens for heads between processes, and their gradients the other way."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, exchange: Exchange, inward: bool) -> Tensor:
        ctx.exchange, ctx.inward = exchange, inward
        return exchange.to_heads(x) if inward else exchange.to_tokens(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        exchange: Exchange = ctx.exchange
        back = exchange.to_tokens if ctx.inward else exchange.to_heads
        return back(gradient), None, None


class _Total(torch.autograd.Function):
    """This adds up a tensor over processes; its gradient is that of the sum, in each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, group: Any) -> Tensor:
        total = x.clone()
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return gradient, None
