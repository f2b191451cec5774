"""This module makes one decode step for all running completions, on buffers that stay where they are.

A lane is a place in the batch. It holds the token drawn last and says where the cache has its prompt and its own slab;
completions change lanes when others leave, what the cache holds of them does not move.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from groupwise.engines.graphs import Graphs
from groupwise.engines.kv_cache import Cache, KVSpans, View, evenly, over
from groupwise.engines.sampler import SampledTokens, draw, narrows
from groupwise.networks import Blueprint
from groupwise.networks.trunk import Trunk
from groupwise.types import Sampling


class Attention(Protocol):
    """This is the attention of one token a lane over what it sees of the cache."""

    name: str
    static: bool
    """Whether a CUDA graph may hold it: it reads no number on the host that changes from step to step."""
    most_lanes: int
    """Of a tile."""

    def __call__(self, layer: int, q: Tensor, keys: Tensor, values: Tensor, view: View) -> Tensor: ...


class Decoder(Protocol):
    """A decoder is the network of one step."""

    @property
    def attention(self) -> Attention:
        """Returns what computes attention over the cache."""

    def pick(self, logits: Tensor, uniforms: Tensor, sampling: Sampling) -> SampledTokens:
        """Draws tokens as ``sampler.draw`` does."""
        ...

    def hidden(self, tokens: Tensor, view: View, cache: Cache) -> Tensor:
        """Returns the last hidden states of the rows' newest tokens."""


class TrunkDecoder:
    """This decoder is the learner's own trunk."""

    def __init__(self, trunk: Trunk, attention: Attention) -> None:
        self.trunk, self.attention = trunk, attention

    def pick(self, logits: Tensor, uniforms: Tensor, sampling: Sampling) -> SampledTokens:
        """Draws a token for each row from its logits."""
        return draw(logits, uniforms, sampling)

    def hidden(self, tokens: Tensor, view: View, cache: Cache) -> Tensor:
        """Returns ``[R, d]`` hidden states; writes keys and values of ``tokens`` ``[R]`` into the cache."""

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            keys, values = cache.keys[layer], cache.values[layer]
            q, k, v = (x.to(keys.dtype) for x in (q, k, v))
            keys[view.write], values[view.write] = k, v
            return self.attention(layer, q, keys, values, view)

        return self.trunk.hidden(tokens, view.positions, attend)


class KVLocation(NamedTuple):
    """This is where the cache has what a lane needs."""

    row: int  # whose slab
    start: int  # of the prompt's stretch
    length: int


class Lanes:
    """Lanes are the places of a batch, on buffers that stay where they are. ``padded``: steps are computed for one of a
    few numbers of lanes (``width``), so that a few graphs do for all."""

    def __init__(self, parts: Blueprint, decoder: Decoder, cache: Cache, graphs: Graphs, padded: bool) -> None:
        self.parts, self.decoder, self.cache, self.graphs, self.padded = parts, decoder, cache, graphs, padded
        rows, device = cache.rows, cache.keys.device
        self.device = device
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)  # drawn last
        self.places = torch.zeros(rows, dtype=torch.long, device=device)  # in its slab, where that goes
        # By lane: where its slab begins, its row, its prompt's length. By tile: first lane, start, length.
        self.table = torch.zeros(6, rows + 1, dtype=torch.long, device=device)
        self.each = torch.arange(rows + 1, dtype=torch.int32, device=device)
        self.uniforms = torch.zeros(rows + 1, cache.slab + 1, dtype=torch.float64, device=device)  # by row
        self.said = torch.zeros(2, rows, dtype=torch.float64, device=device)  # tokens and their log-probabilities
        self.lanes = 0
        self.reach = 0  # places of a slab in use, at most
        self.tiles: list[tuple[int, int, int]] = []
        self.slabs: list[int] = []

    def width(self, lanes: int) -> int:
        """Returns how many lanes are computed where ``lanes`` run: powers of two to 64, then multiples of 64."""
        if not self.padded:
            return lanes
        wide = 1 << (lanes - 1).bit_length() if lanes <= 64 else -(-lanes // 64) * 64
        return min(wide, self.cache.rows)

    def arrange(self, seats: Sequence[KVLocation], sources: Sequence[int], fresh: Tensor, reach: int) -> None:
        """Takes locations in the order of the lanes, those of one prompt side by side. Lane i goes on with the token of
        lane ``sources[i]`` as it was, or, where that is not below ``cache.rows``, with one of ``fresh``, its first.

        ``reach``: places of a slab that any of them has filled, at most.
        """
        cache = self.cache
        self.lanes, self.reach, wide = len(seats), reach, self.width(len(seats))
        self.tiles = over([seat[1:] for seat in seats], self.decoder.attention.most_lanes)
        self.slabs = [cache.slab_of(seat.row) for seat in seats]
        nobody = cache.slab_of(cache.rows), cache.rows, 0
        lanes = [(slab, seat.row, seat.length) for slab, seat in zip(self.slabs, seats, strict=True)]
        lanes += [nobody] * (cache.rows + 1 - len(lanes))
        firsts, tiles = 0, []
        for count, start, length in self.tiles:
            tiles.append((firsts, start, length))
            firsts += count
        tiles += [(firsts, 0, 0)] * (cache.rows + 1 - len(tiles))
        given = [*zip(*lanes, strict=True), *zip(*tiles, strict=True)]
        extra = [cache.rows + len(fresh)] * (wide - len(seats))  # a token and a place of 0
        sent = self.send(torch.tensor([*given, (*sources, *extra, *[0] * (cache.rows + 1 - wide))], dtype=torch.long))
        self.table.copy_(sent[:6])
        source = sent[6, :wide]
        self.tokens[:wide] = torch.cat((self.tokens, fresh, fresh.new_zeros(1)))[source]
        self.places[:wide] = torch.cat((self.places, fresh.new_zeros(len(fresh) + 1)))[source]

    def send(self, here: Tensor) -> Tensor:
        """Sends a tensor to the device, without waiting for what that computes."""
        return here.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else here

    def step(self, sampling: Sampling) -> Tensor | None:
        """Draws every lane's next token into ``tokens`` and ``said``. Returns what each was narrowed to, if anything:
        ``[lanes, V]`` bool."""
        wide = self.width(self.lanes)
        if narrows(sampling):
            # What top-k, top-p and min-p keep is of no fixed shape and goes to the host: outside of the graph.
            logits = self._run((wide, "logits"), partial(self.logits, wide))
            assert logits is not None
            found = draw(logits, self._uniforms(wide), sampling)
            self._take(wide, found)
            self.reach += 1
            return None if found.kept is None else found.kept[: self.lanes]
        self._run((wide, sampling.temperature), partial(self._draw, wide, sampling))
        self.reach += 1
        return None

    def _run(self, key: tuple[object, ...], function: Callable[[], Tensor | None]) -> Tensor | None:
        if not self.decoder.attention.static:
            return function()
        return self.graphs.run(key, function, [self.tokens, self.places, self.said])

    def logits(self, wide: int) -> Tensor:
        """Returns ``[wide, V]`` logits of the next tokens; keys and values of the last go into the cache."""
        return self.parts.logits(self.decoder.hidden(self.tokens[:wide], self.view(wide), self.cache))

    def _draw(self, wide: int, sampling: Sampling) -> None:
        self._take(wide, self.decoder.pick(self.logits(wide), self._uniforms(wide), sampling))

    def _uniforms(self, wide: int) -> Tensor:
        return self.uniforms[self.table[1, :wide], self.places[:wide] + 1]

    def _take(self, wide: int, found: SampledTokens) -> None:
        self.tokens[:wide] = found.tokens
        self.said[0, :wide] = found.tokens
        self.said[1, :wide] = found.logprobs
        # A lane that has ended, or that fills up, stays in its slab.
        self.places[:wide] = (self.places[:wide] + 1).clamp(max=self.cache.slab - 1)

    def view(self, wide: int) -> View:
        """Returns what the lanes see as they are now. Where a graph may hold it, all sizes are upper bounds that never
        change."""
        cache, static = self.cache, self.decoder.attention.static
        slabs, _, lengths = self.table[:3, :wide]
        bounds, starts, sizes = self.table[3:].int()
        places = self.places[:wide]
        count, widest, longest, reach = wide, self.decoder.attention.most_lanes, cache.prompt_tokens, cache.slab
        spacings: tuple[int | None, int | None] = None, None
        if not static:
            count, reach = len(self.tiles), min(self.reach + 1, cache.slab)
            widest, longest = (max(tile[part] for tile in self.tiles) for part in (0, 2))
            first = [start for _, start, _ in self.tiles]
            spacings = evenly(first) if first[-1] + longest <= cache.keys.shape[1] else None, evenly(self.slabs)
        own_starts, own_lengths = self.table[0, : wide + 1].int(), (places + 1).int()
        return View(
            KVSpans(bounds[: count + 1], starts[: count + 1], sizes[:count], widest, longest, spacings[0]),
            KVSpans(
                self.each[: wide + 1], own_starts, own_lengths, 1, reach, None if wide > self.lanes else spacings[1]
            ),
            lengths + places,
            places,
            slabs + places,
        )
