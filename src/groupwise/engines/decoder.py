"""The forward pass of the Llama family without gradient: the same numbers as transformers, a few large operations.

Reads the parameters of a transformers model in place; nothing is copied where q, k, v (and gate, up) lie side by side
in memory, which ``share_storage`` arranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")
Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""``(layer, q [N, H, D], k [N, Hkv, D], v [N, Hkv, D]) -> [N, H, D]``: attention and the cache are the caller's."""


def unsupported(model: Any) -> str | None:
    """Why this decoder cannot stand in for ``model``: an option it does not know, or logits that differ on a probe."""
    config = model.config
    if config.model_type not in FAMILIES:
        return f"architecture {config.model_type} is none of {', '.join(FAMILIES)}"
    if "sliding_attention" in layer_kinds(config):
        return f"{config.model_type} with a sliding window"
    kind = (config.rope_parameters or {}).get("rope_type", "default")
    if kind not in ("default", "linear", "llama3", "yarn"):
        return f"rope scaling {kind}"
    probe = torch.arange(8, device=model.model.embed_tokens.weight.device) % config.vocab_size
    decoder = Decoder(model, len(probe))
    with torch.inference_mode():
        expected = model(input_ids=probe[None], use_cache=False).logits[0]
        found = decoder.logits(decoder.hidden(probe, probe.new_tensor(range(len(probe))), _causal))
    tolerance = 1e-3 if expected.dtype in (torch.float32, torch.float64) else 5e-2
    gap = float((found - expected).abs().max() / expected.abs().max().clamp(min=1e-6))
    return None if gap < tolerance else f"logits of {config.model_type} differ by {gap:.1g} from the embedded decoder's"


def _causal(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention within one sequence, ``[N, H, D]``."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)[0].transpose(0, 1)


def layer_kinds(config) -> list[str]:
    """``full_attention`` or ``sliding_attention``, a layer each."""
    if "layer_types" in config and config.layer_types:
        return list(config.layer_types)
    window = "sliding_window" in config and config.sliding_window
    return ["sliding_attention" if window else "full_attention"] * config.num_hidden_layers


def share_storage(modules: Sequence[nn.Linear]) -> None:
    """Lays the weights (and biases) of linear layers side by side in memory; each keeps its name, shape and values."""
    for name in ("weight", "bias"):
        parameters = [p for module in modules if (p := module._parameters.get(name)) is not None]
        if len(parameters) != len(modules):
            continue
        if _side_by_side([parameter.data for parameter in parameters]):
            continue
        together = torch.cat([parameter.data for parameter in parameters])
        parts = together.split([module.out_features for module in modules])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.data = part


def joined(modules: Sequence[nn.Linear], name: str = "weight") -> Tensor | None:
    """Weights (or biases) of several linear layers as one tensor: a view where they lie side by side, else a copy."""
    parts = [module._parameters[name] for module in modules]
    tensors = [part.data for part in parts if part is not None]
    if not tensors:
        return None
    if _side_by_side(tensors):
        first, rows = tensors[0], sum(len(part) for part in tensors)
        return first.as_strided((rows, *first.shape[1:]), first.stride(), first.storage_offset())
    return torch.cat(tensors)


def _weight(modules: Sequence[nn.Linear]) -> Tensor:
    weight = joined(modules, "weight")
    assert weight is not None
    return weight


def _side_by_side(tensors: Sequence[Tensor]) -> bool:
    ends = [part.data_ptr() + part.numel() * part.element_size() for part in tensors]
    storage = tensors[0].untyped_storage().data_ptr()
    return ends[:-1] == [part.data_ptr() for part in tensors[1:]] and all(
        part.untyped_storage().data_ptr() == storage for part in tensors
    )


class _Layer:
    """One block's parameters, found once."""

    def __init__(self, block: Any) -> None:
        attention, mlp = block.self_attn, block.mlp
        qkv, gate_up = [attention.q_proj, attention.k_proj, attention.v_proj], [mlp.gate_proj, mlp.up_proj]
        self.qkv, self.qkv_bias = _weight(qkv), joined(qkv, "bias")
        self.gate_up, self.gate_up_bias = _weight(gate_up), joined(gate_up, "bias")
        self.out, self.down = attention.o_proj, mlp.down_proj
        self.before, self.between = block.input_layernorm, block.post_attention_layernorm
        self.q_norm = attention.q_norm if hasattr(attention, "q_norm") else None
        self.k_norm = attention.k_norm if hasattr(attention, "k_norm") else None


def _rms(x: Tensor, norm: Any) -> Tensor:
    return F.rms_norm(x, (x.shape[-1],), norm.weight, norm.variance_epsilon)


class Decoder:
    """Token ids and positions in, last hidden states and logits out."""

    def __init__(self, model: Any, context_tokens: int) -> None:
        config, body = model.config, model.model
        self.heads, self.kv_heads = config.num_attention_heads, config.num_key_value_heads
        attention = body.layers[0].self_attn
        self.head_dim = attention.head_dim
        self.embedding, self.norm, self.head = body.embed_tokens, body.norm, model.lm_head
        self.blocks = body.layers
        for block in self.blocks:
            attention, mlp = block.self_attn, block.mlp
            share_storage([attention.q_proj, attention.k_proj, attention.v_proj])
            share_storage([mlp.gate_proj, mlp.up_proj])
        self.layers: list[_Layer] = []
        self.refresh()
        positions = torch.arange(context_tokens, device=self.embedding.weight.device)[None]
        with torch.no_grad():
            tables = body.rotary_emb(self.embedding.weight, positions)
        self.cos, self.sin = (table[0][:, None] for table in tables)

    def refresh(self) -> None:
        """Finds the parameters again, after they were moved in memory."""
        self.layers = [_Layer(block) for block in self.blocks]

    def hidden(self, tokens: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """``[N, d]`` normalised last hidden states of ``tokens`` ``[N]`` at ``positions`` ``[N]``."""
        x = self.embedding(tokens)
        cos, sin = self.cos[positions], self.sin[positions]  # [N, 1, D]
        sizes = [self.heads, self.kv_heads, self.kv_heads]
        for index, layer in enumerate(self.layers):
            qkv = F.linear(_rms(x, layer.before), layer.qkv, layer.qkv_bias)
            q, k, v = qkv.view(len(x), -1, self.head_dim).split(sizes, dim=1)
            if layer.q_norm is not None and layer.k_norm is not None:
                q, k = _rms(q, layer.q_norm), _rms(k, layer.k_norm)
            mixed = attend(index, _rotate(q, cos, sin), _rotate(k, cos, sin), v)
            x = x + layer.out(mixed.reshape(len(x), -1))
            gate, up = F.linear(_rms(x, layer.between), layer.gate_up, layer.gate_up_bias).chunk(2, dim=-1)
            x = x + layer.down(F.silu(gate) * up)
        return _rms(x, self.norm)

    def logits(self, hidden: Tensor) -> Tensor:
        """``[N, V]``."""
        return self.head(hidden)


def _rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin
