"""This module chooses how a decode step goes on this device: the fastest that gives the numbers of plain torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from groupwise.engines import flash
from groupwise.engines.decode_step import Decoder, KVLocation, Lanes, TrunkDecoder
from groupwise.engines.graphs import Graphs
from groupwise.engines.kv_cache import Cache, TorchAttention
from groupwise.engines.sampler import draw
from groupwise.networks import Blueprint
from groupwise.networks.attention import packed_attention
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk
from groupwise.types import Sampling

Whole = Callable[[Tensor, Tensor, Tensor, int], Tensor]
"""``(q, k, v, window) -> [N, H, D]``: prompts side by side, each token seeing those before it."""
WholePrompts = Callable[[Packing], Whole]


@dataclass(frozen=True)
class DecodeBackend:
    """This is one way to compute a decode step, and where it can be used."""

    decoder: Decoder
    prompts: WholePrompts
    how: str
    """In words, for a log."""


def fastest_backend(trunk: Trunk, note: Callable[[str], None]) -> DecodeBackend:
    """Chooses how a decode step goes: on a GPU, each faster way is tried on a small batch first; ``note`` hears why one
    is not taken."""
    parts = trunk.blueprint
    plain = TrunkDecoder(trunk, TorchAttention(parts))
    prompts, whole = partial(_packed, parts), "plain torch"
    weight = parts.embedding.weight
    if weight.device.type != "cuda":
        return DecodeBackend(plain, prompts, "plain torch")
    half = weight.dtype in (torch.bfloat16, torch.float16)
    if half and not _tried("flash attention for prompts", partial(_flash_prompts_differ, parts), note):
        prompts, whole = partial(_flash_packed, parts), "flash attention"
    for name, make in decoder_makers(trunk).items():
        made: list[Decoder] = []
        if not _tried(name, partial(differs, make, plain, trunk, made), note):
            return DecodeBackend(made[0], prompts, f"{name} over a shared prompt, CUDA graphs; prompts by {whole}")
    note("engine: no faster attention fits; decoding in plain torch without CUDA graphs, slower")
    return DecodeBackend(plain, prompts, f"plain torch; prompts by {whole}")


def decoder_makers(trunk: Trunk) -> dict[str, Callable[[], Decoder]]:
    """Returns decoders for a GPU that may be faster than plain torch, the one to be preferred first; making one may
    fail.

    No way of ours was measured on a GPU yet. Triton's is kept, since it was shown to compile, and in its interpreter to
    compute what it should, for every family, window and precision.
    """
    return {"Triton": partial(_fused, trunk)}


def experimental_decoder_makers(trunk: Trunk) -> dict[str, Callable[[], Decoder]]:
    """Returns decoders that no run takes: ``benchmarks/gpu_ways.py`` compares them with ``decoder_makers``. Flash
    attention's leans on what torch does not promise, and has neither windows, caps nor single precision."""
    return {"flash attention": partial(_flashed, trunk)}


def _tried(name: str, differs: Callable[[], str], note: Callable[[str], None]) -> str:
    """Why the path is not taken; empty: it is."""
    try:
        why = differs()
    except Exception as error:  # a compiler's or a library's, of any kind: there is a slower way, and it is said
        why = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if why:
        note(f"engine: {name} is not used: {why}")
    return why


def _fused(trunk: Trunk) -> Decoder:
    from groupwise.engines.triton_decoder import FusedDecoder

    return FusedDecoder(trunk)


def _flashed(trunk: Trunk) -> Decoder:
    parts = trunk.blueprint
    if parts.embedding.weight.dtype not in (torch.bfloat16, torch.float16):
        raise ValueError("it takes half precision only")
    if parts.attention_cap or any(layer.window for layer in parts.layers):
        raise ValueError("capped scores and sliding windows are not in it")
    if why := flash.available():
        raise ValueError(why)
    return TrunkDecoder(trunk, flash.Flash(parts))


@torch.inference_mode()
def differs(make: Callable[[], Decoder], plain: Decoder, trunk: Trunk, made: list[Decoder]) -> str:
    """Says how a decoder's numbers differ from plain torch's; empty: they do not. ``made`` takes the decoder. On random
    keys and values, with prompts and slabs of several lengths and a lane that only fills up."""
    decoder = make()
    made.append(decoder)
    parts = trunk.blueprint
    found = []
    for one in (decoder, plain):
        lanes = example(parts, one, trunk.length)
        wide = lanes.width(lanes.lanes) if one is decoder else lanes.lanes
        logits = lanes.logits(wide)[: lanes.lanes]
        found.append(
            (logits, *(x[:, : lanes.cache.slab_of(lanes.cache.rows)] for x in (lanes.cache.keys, lanes.cache.values)))
        )
    exact = parts.embedding.weight.dtype in (torch.float32, torch.float64)
    for ours, theirs in zip(*found, strict=True):
        gap = float((ours.double() - theirs.double()).norm() / theirs.double().norm())
        if not gap < (1e-3 if exact else 0.1):  # a NaN too
            return f"numbers differ by {gap:.1g} from those of plain torch"
    logits, uniforms = found[1][0].contiguous(), torch.linspace(0.03, 0.97, len(found[1][0]), device=found[1][0].device)
    for temperature in (1.0, 0.7):
        ours, theirs = (pick(logits, uniforms.double(), Sampling(1, temperature)) for pick in (decoder.pick, draw))
        if not torch.equal(ours.tokens, theirs.tokens) or not torch.allclose(ours.logprobs, theirs.logprobs, atol=1e-3):
            return "tokens drawn differ from those of plain torch"
    return ""


def example(parts: Blueprint, decoder: Decoder, context: int) -> Lanes:
    """Makes a batch of seven lanes of three prompts, one of them for four lanes, in slabs out of order; always the same
    numbers."""
    most = min(150, context // 2)
    lengths = [min(37, most), min(3, most), most]
    cache = Cache(parts, sum(lengths) + 5, 12, most)
    dice = torch.Generator().manual_seed(0)
    for x in (cache.keys, cache.values):
        for layer in x:
            layer.copy_(torch.randn(layer.shape, generator=dice))
    lanes = Lanes(parts, decoder, cache, Graphs(cache.keys.device), padded=True)
    starts = [5, 5 + lengths[0], 5 + lengths[0] + lengths[1]]
    rows = (4, 11, 0, 7, 2, 1, 9)
    seats = [KVLocation(row, starts[n], lengths[n]) for row, n in zip(rows, (0, 0, 0, 0, 1, 2, 2), strict=True)]
    tokens = torch.arange(5, 12, device=cache.keys.device) % parts.vocabulary
    lanes.arrange(seats, range(cache.rows, cache.rows + 7), tokens, most - 1)
    lanes.places[:7] = torch.tensor([0, 5, most // 2, most - 1, 1, most // 3, 2]).clamp(max=most - 1)
    return lanes


@torch.inference_mode()
def _flash_prompts_differ(parts: Blueprint) -> str:
    if parts.attention_cap:
        return "capped scores are not in it"
    packing = Packing.of([((1,) * 5, ()), ((2,) * 70, ()), ((3,) * 33, ())], parts.embedding.weight.device)
    dice = torch.Generator().manual_seed(0)
    q, k, v = (
        torch.randn(len(packing.tokens), heads, parts.head_dim, generator=dice).to(parts.embedding.weight)
        for heads in (parts.heads, parts.kv_heads, parts.kv_heads)
    )
    for window in sorted({layer.window for layer in parts.layers}):
        ours, theirs = (whole(parts, packing)(q, k, v, window) for whole in (_flash_packed, _packed))
        gap = float((ours.float() - theirs.float()).norm() / theirs.float().norm())
        if not gap < 0.02:
            return f"prompts differ by {gap:.1g} from those of plain torch"
    return ""


def _packed(parts: Blueprint, packing: Packing) -> Whole:
    def attend(q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
        return packed_attention(q, k, v, packing, parts.attention_scale, parts.attention_cap, window)

    return attend


def _flash_packed(parts: Blueprint, packing: Packing) -> Whole:
    ends = packing.prompts[:, 0] + packing.prompts[:, 1]
    bounds = torch.cat((ends.new_zeros(1), ends)).to(packing.tokens.device)
    return partial(_flash_whole, bounds, int(packing.prompts[:, 1].max()), parts.attention_scale)


def _flash_whole(bounds: Tensor, longest: int, scale: float, q: Tensor, k: Tensor, v: Tensor, window: int) -> Tensor:
    return flash.whole_prompts(q, k, v, bounds, longest, scale, window)
