"""This is a decode step for a GPU: matrix products by torch, everything between them by the kernels of
``triton_kernels.py``.

Twelve launches a layer where separate operations would be about forty: at these sizes launches cost the time.
Not run on a GPU when written: that the kernels compile (Triton 3.6, sm_90) and, in its interpreter, compute what they
should is known; how fast they are is not. ``paths.py`` tries them at opening and decodes in plain torch if they fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
import triton
from torch import Tensor, nn

from groupwise.engines import triton_kernels as kernels
from groupwise.engines.kv_cache import Cache, KVSpans, View
from groupwise.engines.sampler import SampledTokens, draw, narrows
from groupwise.networks import Blueprint
from groupwise.networks.blueprint import LayerParts
from groupwise.networks.linear import concatenate, plain
from groupwise.networks.trunk import Trunk
from groupwise.types import Sampling

TILE_LANES = 8  # lanes with one prompt that share its keys on chip
COLUMNS = 64  # keys that a program holds at a time; of single precision 16, or a wide head fills a multiprocessor
PROGRAMS = 264  # two for each of an H100's 132 multiprocessors: fewer, and stretches are cut into pieces
CHUNK = 4096  # tokens of the vocabulary in one piece


class Attention:
    """This is the attention of one token a lane over its prompt and its own slab: two launches and one that merges."""

    name, static, most_lanes = "Triton", True, TILE_LANES

    def __init__(self, parts: Blueprint) -> None:
        self.parts = parts

    def __call__(self, layer: int, q: Tensor, keys: Tensor, values: Tensor, view: View) -> Tensor:
        """Returns what each lane's query attends to, ``[lanes, heads, head_dim]``, as ``kv_cache.TorchAttention``."""
        lanes, heads, dim = q.shape
        of_prompts, of_own = self._pieces(-(-lanes // TILE_LANES)), self._pieces(lanes)
        pieces = of_prompts + of_own
        out = q.new_empty(lanes, heads, pieces, dim, dtype=torch.float32)
        # Lanes that only fill up have no prompt, so nothing writes there.
        logs = q.new_full((lanes, heads, pieces), -torch.inf, dtype=torch.float32)
        window = self.parts.layers[layer].window
        given = q, keys, values, out, logs, window
        self._launch(view.prompts, view.positions, TILE_LANES, 0, of_prompts, *given)
        self._launch(view.own, view.places, 1, of_prompts, of_own, *given)
        y = torch.empty_like(q)
        kernels.merge[(lanes * heads,)](
            out, logs, y, pieces, DIM=dim, PIECES=_power(pieces), BLOCK=_power(dim), num_warps=1
        )
        return y

    def _launch(
        self, stretches: KVSpans, relative: Tensor, lanes: int, piece0: int, pieces: int, q: Tensor, keys: Tensor,
        values: Tensor, out: Tensor, logs: Tensor, window: int,
    ) -> None:  # fmt: skip
        parts = self.parts
        group = _power(parts.heads // parts.kv_heads)
        kernels.attend[(len(stretches.lengths), parts.kv_heads, pieces)](
            q, keys, values, stretches.bounds, stretches.starts, stretches.lengths, relative, out, logs,
            parts.attention_scale, parts.attention_cap, window, piece0, pieces, out.shape[2],
            HEADS=parts.heads, KV_HEADS=parts.kv_heads, DIM=parts.head_dim, GROUP=group, LANES=lanes,
            ROWS=max(16, lanes * group), COLUMNS=COLUMNS if q.element_size() == 2 else 16,
            BLOCK=max(16, _power(parts.head_dim)), CAPPED=bool(parts.attention_cap), WINDOWED=bool(window), num_warps=4,
        )  # fmt: skip

    def _pieces(self, tiles: int) -> int:
        """A power of two that depends on nothing but the number of lanes, so that a graph may hold it."""
        return min(16, _power(max(1, PROGRAMS // (tiles * self.parts.kv_heads))))


class FusedDecoder:
    """This decoder computes ``hidden`` of the tokens that lanes drew last, as ``Trunk.hidden`` would find them, up to
    rounding."""

    name = "fused by Triton"

    def __init__(self, trunk: Trunk) -> None:
        self.trunk, self.parts = trunk, trunk.blueprint
        if not self.parts.is_llamas:
            raise ValueError("blocks that differ from Llama's in more than numbers are not in it")
        self.attention = Attention(self.parts)

    def hidden(self, tokens: Tensor, view: View, cache: Cache) -> Tensor:
        """Returns ``[R, d]`` hidden states; writes keys and values of ``tokens`` ``[R]`` into the cache."""
        parts = self.parts
        x = F.embedding(tokens, parts.embedding.weight)
        if parts.embedding_scale != 1:
            x = x * parts.embedding_scale
        added = None
        for number, layer in enumerate(parts.layers):
            normed = self._norm(layer.before_attention, x, added)
            raw = _rows(layer.inward, normed)
            q = self._apply_rope(layer, raw, view, cache.keys[number], cache.values[number])
            mixed = self.attention(number, q, cache.keys[number], cache.values[number], view)
            added = self._after(layer.after_attention, layer.o(mixed.flatten(1)))
            normed = self._norm(layer.before_mlp, x, added)
            assert layer.down is not None  # a mixture of experts is decoded another way
            added = self._after(layer.after_mlp, layer.down(self._gate(_rows(layer.gate_up, normed))))
        return self._norm(parts.norm, x, added)

    def pick(self, logits: Tensor, uniforms: Tensor, sampling: Sampling) -> SampledTokens:
        """Draws as ``sampler.draw`` by the same rule: logits are read once and nothing of their size is written."""
        if narrows(sampling) or sampling.temperature == 0:
            return draw(logits, uniforms, sampling)
        rows, vocabulary = logits.shape
        chunks, heat = -(-vocabulary // CHUNK), 1 / sampling.temperature
        logits = logits.contiguous()
        peaks = logits.new_empty(rows, chunks, dtype=torch.float32)
        sums = logits.new_empty(rows, chunks, dtype=torch.float64)
        kernels.masses[(rows, chunks)](logits, peaks, sums, vocabulary, chunks, heat, BLOCK=CHUNK, num_warps=8)
        tokens = torch.empty(rows, dtype=torch.long, device=logits.device)
        logprobs = logits.new_empty(rows, dtype=torch.float32)
        kernels.choose[(rows,)](
            logits, peaks, sums, uniforms, tokens, logprobs, vocabulary, chunks, heat, CHUNKS=_power(chunks),
            BLOCK=CHUNK, num_warps=8,
        )  # fmt: skip
        return SampledTokens(tokens, logprobs, None)

    def _norm(self, norm: Any, x: Tensor, added: Tensor | None) -> Tensor:
        """Adds to ``x`` in place, then norms."""
        y, width = torch.empty_like(x), x.shape[1]
        more = x if added is None else added
        kernels.add_norm[(len(x),)](
            x, more, norm.weight, y, width, self.parts.eps, self.parts.norm_offset, ADDS=added is not None,
            BLOCK=_power(width), num_warps=4,
        )  # fmt: skip
        return y

    def _after(self, norm: nn.Module | None, added: Tensor) -> Tensor:
        return added if norm is None else self._norm(norm, added, None)

    def _apply_rope(self, layer: LayerParts, raw: Tensor, view: View, keys: Tensor, values: Tensor) -> Tensor:
        parts = self.parts
        q = raw.new_empty(len(raw), parts.heads, parts.head_dim)
        weights = [raw if norm is None else norm.weight for norm in (layer.q_norm, layer.k_norm)]  # raw: unread
        cos, sin = self.trunk.tables[layer.rope]
        kernels.apply_rope[(len(raw), parts.heads + 2 * parts.kv_heads)](
            raw, q, keys, values, cos, sin, view.positions, view.write, *weights, parts.eps, parts.norm_offset,
            HEADS=parts.heads, KV_HEADS=parts.kv_heads, DIM=parts.head_dim, NORMED=layer.q_norm is not None,
            BLOCK=_power(parts.head_dim // 2), num_warps=1,
        )  # fmt: skip
        return q

    def _gate(self, x: Tensor) -> Tensor:
        width = x.shape[1] // 2
        y = x.new_empty(len(x), width)
        kernels.gate[(len(x), -(-width // 1024))](x, y, width, SILU=self.parts.activation == "silu", BLOCK=1024)
        return y


def _rows(modules: Sequence[nn.Module], x: Tensor) -> Tensor:
    """What the layers make of ``x``, side by side."""
    if not plain(modules):
        return torch.cat([module(x) for module in modules], dim=-1)
    biases: list[Any] = [module.bias for module in modules]
    bias = None if biases[0] is None else concatenate(biases)
    return F.linear(x, concatenate([module.weight for module in modules]), bias)  # type: ignore[misc]


def _power(number: int) -> int:
    return triton.next_power_of_2(number)
