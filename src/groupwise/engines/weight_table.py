"""A model's weights as compiled code reads them: addresses, and what must live as long as they are read."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.kernels.decode import LayerWeights, Projection, Shape, Weights
from groupwise.networks import Blueprint, LayerParts, bias_of, merged_weight

VECTOR_FLOATS = 16  # of a vector in the compiled code


def padded_head_dim(head_dim: int) -> int:
    """Returns what a head's numbers take where vectors are read whole."""
    return -(-head_dim // VECTOR_FLOATS) * VECTOR_FLOATS


class RopeTables:
    """The angles of a model's ropes for so many positions."""

    def __init__(self, parts: Blueprint, positions: int) -> None:
        tables, shape = parts.tables(positions), (positions, parts.head_dim)
        self._held = [[checked(table[side], *shape) for table in tables] for side in range(2)]
        self.cosines, self.sines = (
            (c_void_p * len(tables))(*(tensor.data_ptr() for tensor in side)) for side in self._held
        )
        self.count = len(tables)


class WeightTable:
    """The addresses of a model's weights, and what must live as long as they are read."""

    def __init__(self, parts: Blueprint, positions: int) -> None:
        assert parts.head is not None
        self._held: list[Any] = []
        self._head_dim = parts.head_dim
        tables = self._hold(RopeTables(parts, positions))
        shape = Shape(
            layers=len(parts.layers),
            width=parts.width,
            heads=parts.heads,
            kv_heads=parts.kv_heads,
            head_dim=parts.head_dim,
            padded_head_dim=padded_head_dim(parts.head_dim),
            hidden=len(merged_weight(parts.layers[0].gate)),
            vocabulary=len(parts.head.weight),
            ropes=tables.count,
            positions=positions,
            gelu=parts.activation == "gelu_tanh",
            eps=parts.eps,
            attention_scale=parts.attention_scale,
            attention_cap=parts.attention_cap,
            logit_cap=parts.logit_cap,
            embedding_scale=parts.embedding_scale,
            norm_offset=parts.norm_offset,
        )
        width = parts.width
        self.structure = Weights(
            shape,
            self._hold((LayerWeights * len(parts.layers))(*(self._layer(layer, shape) for layer in parts.layers))),
            self._address(parts.embedding.weight, parts.embedding.num_embeddings, width),
            self._address(parts.head.weight, shape.vocabulary, width),
            self._address(parts.head.bias, shape.vocabulary),
            self._address(parts.norm.weight, width),
            tables.cosines,
            tables.sines,
        )

    def _layer(self, layer: LayerParts, shape: Shape) -> LayerWeights:
        norms = [layer.before_attention, layer.after_attention, layer.before_mlp, layer.after_mlp]
        head_dim, width, hidden = shape.padded_head_dim, shape.width, shape.hidden
        heads = shape.heads * head_dim, shape.kv_heads * head_dim, shape.kv_heads * head_dim
        return LayerWeights(
            *(
                self._projection(module, outputs, width, heads=0)
                for module, outputs in zip((layer.q, layer.k, layer.v), heads, strict=True)
            ),
            self._projection(layer.o, width, heads[0], heads=1),
            *(self._projection(module, hidden, width) for module in (layer.gate, layer.up)),
            self._projection(layer.down, width, hidden),
            *(self._address(norm and norm.weight, width) for norm in norms),
            *(self._address(norm and norm.weight, shape.head_dim) for norm in (layer.q_norm, layer.k_norm)),
            layer.window,
            layer.rope,
        )

    def _projection(self, module: nn.Module, outputs: int, inputs: int, heads: int | None = None) -> Projection:
        """``heads``: along which side of the weight they lie."""
        weight, bias = merged_weight(module), bias_of(module)
        if heads is not None and self._head_dim % VECTOR_FLOATS:
            weight = self._padded(weight, heads)
            bias = self._padded(bias, 0) if heads == 0 and bias is not None else bias
        return Projection(self._address(weight, outputs, inputs), self._address(bias, outputs), outputs)

    def _padded(self, x: Tensor, side: int) -> Tensor:
        """Zeros behind each head's numbers."""
        apart = x.detach().unflatten(side, (-1, self._head_dim))
        missing = padded_head_dim(self._head_dim) - self._head_dim
        more = apart.new_zeros(*apart.shape[: side + 1], missing, *apart.shape[side + 2 :])
        return torch.cat((apart, more), dim=side + 1).flatten(side, side + 1)

    def _address(self, tensor: Any, *shape: int) -> int | None:
        """Raises ValueError for what the compiled code would misread."""
        return None if tensor is None else int(self._hold(checked(tensor, *shape)).data_ptr())

    def _hold(self, value: Any) -> Any:
        self._held.append(value)
        return value


def checked(tensor: Tensor, *shape: int) -> Tensor:
    """Returns the tensor in one piece. Raises ValueError for what the compiled code would misread."""
    if tensor.dtype != torch.float32 or tensor.device.type != "cpu" or tuple(tensor.shape) != shape:
        seen = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        raise ValueError(f"weights for sampling: seen {seen}, expected torch.float32 {shape} on the CPU")
    return tensor.detach().contiguous()
