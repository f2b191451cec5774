"""The cache holds keys and values of running completions: a prompt stands there once, and who continues it has a slab
of its own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from groupwise.networks import Blueprint
from groupwise.networks.block_backend import residual_like


class KVAllocator:
    """An allocator gives spans of places 0 .. size - 1, the first that is long enough taken first."""

    def __init__(self, size: int) -> None:
        self.free = [(0, size)]  # start and length, in order, never touching

    def take(self, length: int) -> int | None:
        """Returns where ``length`` free places begin, no longer free; None: there are none side by side."""
        for number, (start, free) in enumerate(self.free):
            if free >= length:
                self.free[number : number + 1] = [(start + length, free - length)] if free > length else []
                return start
        return None

    def give(self, start: int, length: int) -> None:
        """Takes back what ``take`` gave."""
        joined: list[tuple[int, int]] = []
        for begin, size in sorted([*self.free, (start, length)]):
            if joined and sum(joined[-1]) == begin:
                joined[-1] = joined[-1][0], joined[-1][1] + size
            else:
                joined.append((begin, size))
        self.free = joined


class Cache:
    """The cache holds ``keys`` and ``values`` ``[layers, places, kv heads, head_dim]``: room for prompts, then a slab a
    row, then a slab that is written and never read, for lanes which only fill up a batch.

    Zeros at first: what attention masks out must still be finite.
    """

    def __init__(self, parts: Blueprint, prompt_tokens: int, rows: int, slab: int) -> None:
        self.prompt_tokens, self.rows, self.slab = prompt_tokens, rows, slab
        weight = residual_like(parts.embedding.weight)
        places = prompt_tokens + (rows + 1) * slab
        shape = len(parts.layers), places, parts.kv_heads, parts.head_dim
        self.keys, self.values = weight.new_zeros(shape), weight.new_zeros(shape)
        self.sizes = prompt_tokens, rows, slab
        self.bytes = Cache.bytes_for(parts, prompt_tokens, rows, slab)

    @staticmethod
    def bytes_for(parts: Blueprint, prompt_tokens: int, rows: int, slab: int) -> int:
        """Returns the bytes of keys and values of so many prompt tokens and rows."""
        size = residual_like(parts.embedding.weight).element_size()
        place = 2 * len(parts.layers) * parts.kv_heads * parts.head_dim * size
        return place * (prompt_tokens + (rows + 1) * slab)

    def slab_of(self, row: int) -> int:
        """Returns where a row's slab begins; row ``rows`` is nobody's."""
        return self.prompt_tokens + row * self.slab


@dataclass(frozen=True)
class KVSpans:
    """These are T tiles of neighbouring lanes; each tile sees one stretch of the cache, from its start on."""

    bounds: Tensor  # [T + 1] int32: tile t is lanes bounds[t] .. bounds[t + 1] - 1; may be none
    starts: Tensor  # [T + 1] int32, the last without meaning
    lengths: Tensor  # [T] int32
    widest: int
    """Lanes of a tile at most."""
    longest: int
    """Places of a stretch at most."""
    spacing: int | None = None
    """From each start to the next, where known and always the same: then no key has to be gathered."""


@dataclass(frozen=True)
class View:
    """A view is what R lanes, one new token each, see and where they write."""

    prompts: KVSpans
    own: KVSpans  # a tile a lane
    positions: Tensor  # [R] int64: of the new token in its sequence, prompt included
    places: Tensor  # [R] int64: in its own slab
    write: Tensor  # [R] int64: in the cache


def evenly(starts: Sequence[int]) -> int | None:
    """The distance between neighbours, if it is one and not negative."""
    steps = {after - before for before, after in pairwise(starts)}
    return None if len(steps) > 1 or any(step < 0 for step in steps) else next(iter(steps), 0)


def over(prompts: Sequence[tuple[int, int]], most: int) -> list[tuple[int, int, int]]:
    """Returns tiles (lanes, start, length) over lanes' prompts, given as (start, length) in the order of the lanes.

    Neighbours with one prompt share a tile, at most ``most`` of them.
    """
    tiles: list[tuple[int, int, int]] = []
    for start, length in prompts:
        if tiles and tiles[-1][1:] == (start, length) and tiles[-1][0] < most:
            tiles[-1] = (tiles[-1][0] + 1, start, length)
        else:
            tiles.append((1, start, length))
    return tiles


class TorchAttention:
    """This is the attention of one token a lane over two spans, in plain torch: on any device, in any precision.

    softmax over both = the two softmaxes weighted by their sums of exponentials, which is exact. Reads lengths on the
    host (``longest``, ``spacing``), so it cannot be part of a CUDA graph.
    """

    name, static, most_lanes = "plain torch", False, 1 << 30

    def __init__(self, parts: Blueprint) -> None:
        self.parts = parts
        self.view: View | None = None
        self.spreads: dict[int, tuple[_PaddedSpans, _PaddedSpans]] = {}

    def __call__(self, layer: int, q: Tensor, keys: Tensor, values: Tensor, view: View) -> Tensor:
        """``[R, H, D]`` of q ``[R, H, D]``, keys and values ``[places, Hkv, D]``."""
        if self.view is not view:
            self.view, self.spreads = view, {}
        window = self.parts.layers[layer].window
        if window not in self.spreads:
            self.spreads[window] = (
                _PaddedSpans(view.prompts, view.positions, window),
                _PaddedSpans(view.own, view.places, window),
            )
        scale, cap = self.parts.attention_scale, self.parts.attention_cap
        (a, total_a, peak_a), (b, total_b, peak_b) = (
            spread.attend(q, keys, values, scale, cap) for spread in self.spreads[window]
        )
        peak = torch.maximum(peak_a, peak_b)
        weight_a, weight_b = (peak_a - peak).exp(), (peak_b - peak).exp()
        mixed = a * weight_a[..., None] + b * weight_b[..., None]
        return (mixed / (total_a * weight_a + total_b * weight_b)[..., None]).to(q.dtype)


class _PaddedSpans:
    """Stretches as padded rectangles. ``relative`` ``[R]``: where a lane's token stands, counted from the start."""

    def __init__(self, stretches: KVSpans, relative: Tensor, window: int) -> None:
        self.stretches = stretches
        device, tiles = relative.device, len(stretches.lengths)
        bounds = stretches.bounds[: tiles + 1].long()
        lanes = bounds[:-1, None] + torch.arange(stretches.widest, device=device)
        real = lanes < bounds[1:, None]
        self.lanes = torch.where(real, lanes, 0)  # [T, W]
        self.slots = torch.zeros_like(relative)  # of each lane among the T · W
        self.slots[lanes[real]] = torch.arange(real.numel(), device=device).view_as(real)[real]
        columns = torch.arange(stretches.longest, device=device)
        self.seen = (columns < stretches.lengths[:, None])[:, None]  # [T, W or 1, L]
        if window:
            self.seen = self.seen & (columns > relative[self.lanes][..., None] - window)
        self.columns = None
        if stretches.spacing is None:
            self.columns = torch.where(self.seen.any(1), stretches.starts[:tiles, None].long() + columns, 0)
        self.first = int(stretches.starts[0])

    def attend(self, q: Tensor, keys: Tensor, values: Tensor, scale: float, cap: float) -> tuple[Tensor, ...]:
        """A sum over values ``[R, H, D]``, the sum of its weights ``[R, H]`` and the peak they were scaled by."""
        heads = keys.shape[1]
        q = q[self.lanes].unflatten(2, (heads, -1)).permute(0, 2, 1, 3, 4)  # [T, Hkv, W, G, D]
        flat = q.flatten(2, 3)  # [T, Hkv, W · G, D]
        k, v = (self._stretch(x).transpose(1, 2) for x in (keys, values))  # [T, Hkv, L, D]
        dtype = torch.promote_types(q.dtype, torch.float32)
        scores = (flat @ k.transpose(2, 3)).to(dtype) * scale
        if cap:
            scores = cap * torch.tanh(scores / cap)
        scores = scores.unflatten(2, q.shape[2:4]).masked_fill(~self.seen[:, None, :, None], -torch.inf)
        peak = scores.amax(-1).clamp(min=torch.finfo(dtype).min)  # finite where nothing is seen
        weights = (scores - peak[..., None]).exp()
        mixed = (weights.to(v.dtype).flatten(2, 3) @ v).to(dtype).unflatten(2, q.shape[2:4])
        return tuple(self._by_lane(x) for x in (mixed, weights.sum(-1), peak))

    def _stretch(self, x: Tensor) -> Tensor:
        """``[T, L, Hkv, D]`` of a cache ``[places, Hkv, D]``."""
        if self.columns is not None:
            return x[self.columns]
        tiles, longest, spacing = len(self.stretches.lengths), self.stretches.longest, self.stretches.spacing
        assert spacing is not None
        step = x.stride(0)
        strides = (spacing * step, *x.stride())
        return x.as_strided((tiles, longest, *x.shape[1:]), strides, x.storage_offset() + self.first * step)

    def _by_lane(self, x: Tensor) -> Tensor:
        """``[R, H, ...]`` of ``[T, Hkv, W, G, ...]``."""
        return x.transpose(1, 2).flatten(0, 1).flatten(1, 2)[self.slots]
