"""A model's weights as compiled code reads them: addresses, and what must live as long as they are read."""

from __future__ import annotations

from ctypes import c_void_p
from typing import Any

import torch
from torch import Tensor, nn

from groupwise.engines.expert_weights import expert_weights
from groupwise.kernels.decode import (
    LatentWeights,
    LayerWeights,
    MixtureWeights,
    NormWeights,
    Projection,
    Shape,
    Weights,
)
from groupwise.networks import Blueprint, LayerParts, bias_of, merged_weight
from groupwise.networks.blueprint import Latent

VECTOR_FLOATS, PANEL = 16, 32  # of a vector in the compiled code; outputs of a panel
ACTIVATIONS = {"silu": 0, "gelu_tanh": 1, "clamped": 2}
HEAD_NORMS = {"head": 0, "row": 1, "turned": 2}


def padded_head_dim(head_dim: int) -> int:
    """Returns what a head's numbers take where vectors are read whole."""
    return -(-head_dim // VECTOR_FLOATS) * VECTOR_FLOATS


class RopeTables:
    """The angles of a model's ropes for so many positions; where queries grow with their position, those of queries
    after those of keys."""

    def __init__(self, parts: Blueprint, positions: int) -> None:
        tables, shape = parts.tables(positions), (positions, parts.head_dim)
        growth = parts.query_scales(torch.arange(positions))
        if growth is not None:
            tables += [(cos * growth[:, None], sin * growth[:, None]) for cos, sin in tables]
        self._held = [[checked(table[side].float(), *shape) for table in tables] for side in range(2)]
        self.cosines, self.sines = (
            (c_void_p * len(tables))(*(tensor.data_ptr() for tensor in side)) for side in self._held
        )
        self.count, self.positions = len(tables), positions


class WeightTable:
    """The addresses of a model's weights, and what must live as long as they are read."""

    def __init__(self, parts: Blueprint, positions: int) -> None:
        assert parts.head is not None
        self._held: list[Any] = []
        self._parts = parts
        tables = self._hold(RopeTables(parts, positions))
        self._query_ropes = tables.count // 2 if parts.query_growth[0] else 0
        shape = self._shape(tables)
        width, places, scale = parts.width, parts.places, parts.logit_scale
        norm: Any = parts.norm.weight
        bias = _bias(parts.norm)
        self.structure = Weights(
            shape,
            self._hold((LayerWeights * len(parts.layers))(*(self._layer(layer, shape) for layer in parts.layers))),
            self._matrix(parts.embedding.weight, parts.embedding.num_embeddings, width),
            self._address(places and places.weight, places.num_embeddings if places else 0, width),
            self._matrix(parts.head.weight, shape.vocabulary, width),
            self._address(_times(parts.head.bias, scale), shape.vocabulary),
            NormWeights(self._address(_times(norm, scale), width), self._address(_times(bias, scale), width)),
            tables.cosines,
            tables.sines,
        )

    def _shape(self, tables: RopeTables) -> Shape:
        parts = self._parts
        assert parts.head is not None
        return Shape(
            layers=len(parts.layers),
            width=parts.width,
            heads=parts.heads,
            kv_heads=parts.kv_heads,
            head_dim=parts.head_dim,
            padded_head_dim=padded_head_dim(parts.head_dim),
            vocabulary=len(parts.head.weight),
            ropes=tables.count,
            positions=tables.positions,
            activation=ACTIVATIONS[parts.activation],
            slope=parts.clamp[0],
            limit=parts.clamp[1],
            centred=parts.centred,
            parallel=parts.parallel,
            head_norms=HEAD_NORMS[parts.head_norms],
            half=parts.embedding.weight.dtype == torch.bfloat16,
            eps=parts.eps,
            attention_scale=parts.attention_scale,
            attention_cap=parts.attention_cap,
            logit_cap=parts.logit_cap,
            embedding_scale=parts.embedding_scale,
            norm_offset=parts.norm_offset,
        )

    def _layer(self, layer: LayerParts, shape: Shape) -> LayerWeights:
        width, inner = shape.width, shape.heads * shape.padded_head_dim
        norms = [layer.before_attention, layer.after_attention, layer.before_mlp, layer.after_mlp]
        dense = layer.down is not None
        down = self._projection(*self._written(layer.down), width) if dense else Projection()
        hidden = int(merged_weight(layer.down).shape[1]) if layer.down is not None else 0
        gate, up = self._gate_up(layer, hidden) if dense else (Projection(), Projection())
        weight, bias = self._written(layer.o)
        return LayerWeights(
            *(self._heads(layer, shape) if layer.latent is None else self._queries(layer, layer.latent, shape)),
            self._projection(self._padded(self._widened(weight, layer), 1), bias, width, inner),
            gate,
            up,
            down,
            *(self._norm(norm, width) for norm in norms),
            *(self._head_norm(norm, shape) for norm in (layer.q_norm, layer.k_norm)),
            self._mixture(layer, width),
            self._latent(layer, shape),
            self._address(layer.sinks, shape.heads),
            hidden,
            layer.window,
            layer.rope,
            layer.rope + self._query_ropes,
        )

    def _heads(self, layer: LayerParts, shape: Shape) -> list[Projection]:
        """Of queries, keys and values, each head's numbers in the order in which they are turned."""
        parts, size = self._parts, self._parts.head_dim
        weights = torch.cat([merged_weight(module) for module in layer.inward])
        biases = [bias_of(module) for module in layer.inward]
        bias = None if biases[0] is None else torch.cat([each for each in biases if each is not None])
        counts = [shape.heads, shape.kv_heads, shape.kv_heads]
        sizes = [count * size for count in counts]
        each_bias = [None] * 3 if bias is None else bias.split(sizes)
        found = []
        for number, (weight, one, count) in enumerate(zip(weights.split(sizes), each_bias, counts, strict=True)):
            order = parts.order if number < 2 else ()
            rows = [None if part is None else self._padded(_ordered(part, order, size), 0) for part in (weight, one)]
            found.append(self._projection(rows[0], rows[1], count * shape.padded_head_dim, shape.width))
        return found

    def _queries(self, layer: LayerParts, latent: Latent, shape: Shape) -> list[Projection]:
        """Returns the projection of a layer's queries alone, and none for keys and values, which are made elsewhere."""
        weight = self._padded(_ordered(merged_weight(layer.q), self._parts.order, shape.head_dim), 0)
        bias = bias_of(layer.q)
        bias = None if bias is None else self._padded(_ordered(bias, self._parts.order, shape.head_dim), 0)
        inputs = int(weight.shape[1])
        return [self._projection(weight, bias, shape.heads * shape.padded_head_dim, inputs), Projection(), Projection()]

    def _widened(self, weight: Tensor, layer: LayerParts) -> Tensor:
        """What reads values, with zeros where heads are wider than they."""
        missing = 0 if layer.latent is None else self._parts.head_dim - layer.latent.value
        if not missing:
            return weight
        apart = weight.detach().unflatten(1, (self._parts.heads, -1))
        return torch.cat((apart, apart.new_zeros(*apart.shape[:2], missing)), dim=2).flatten(1)

    def _gate_up(self, layer: LayerParts, hidden: int) -> list[Projection]:
        if layer.gate is None:
            return [Projection(), *(self._linear(module, hidden) for module in layer.gate_up)]
        if layer.up is not None:
            return [self._linear(module, hidden) for module in (layer.gate, layer.up)]
        bias = bias_of(layer.gate)
        biases = (None, None) if bias is None else bias.chunk(2)
        pairs = zip(merged_weight(layer.gate).chunk(2), biases, strict=True)
        return [self._projection(weight, one, hidden, self._parts.width) for weight, one in pairs]

    def _linear(self, module: nn.Module, outputs: int) -> Projection:
        return self._projection(merged_weight(module), bias_of(module), outputs, self._parts.width)

    def _written(self, module: Any) -> tuple[Tensor, Tensor | None]:
        """Weight and bias of a layer whose results are added to hidden states."""
        scale = self._parts.residual_scale
        weight, bias = merged_weight(module), bias_of(module)
        return (weight, bias) if scale == 1 else (weight * scale, None if bias is None else bias * scale)

    def _mixture(self, layer: LayerParts, width: int) -> MixtureWeights:
        if layer.mixture is None:
            return MixtureWeights()
        found = expert_weights(layer.mixture)
        count, _, hidden = found.down.shape
        router = self._projection(found.router, found.router_bias, count, width)
        biases = None if found.biases is None else self._address(found.biases, count, 2 * hidden + width)
        weights = torch.cat((found.gate_up.flatten(1), (found.down * self._parts.residual_scale).flatten(1)), dim=1)
        address = self._matrix(weights, count, 3 * hidden * width)
        correction = None if found.correction is None else self._address(found.correction, count)
        by_sigmoid = found.correction is not None
        numbers = found.chosen, found.normalised, by_sigmoid, *found.groups, found.scale, hidden
        return MixtureWeights(router, address, biases, correction, *numbers)

    def _latent(self, layer: LayerParts, shape: Shape) -> LatentWeights:
        """Latents begin on panels; a key has zeros where what is turned is put, a value behind its own numbers."""
        latent, parts = layer.latent, self._parts
        if latent is None:
            return LatentWeights()
        kv = merged_weight(latent.kv_in)
        into = [] if latent.q_in is None else [merged_weight(latent.q_in)]
        into += [kv[: latent.kv_size], kv[latent.kv_size :]]
        weight = torch.cat([_on_panels(part) for part in into])
        biases = [bias_of(module) for module in (latent.q_in, latent.kv_in) if module is not None]
        bias = None
        if biases[-1] is not None:
            given = [*biases[:-1], biases[-1][: latent.kv_size], biases[-1][latent.kv_size :]]
            bias = torch.cat([_on_panels(each[:, None])[:, 0] for each in given if each is not None])
        both = merged_weight(latent.kv_out).unflatten(0, (parts.heads, -1))
        size, inner = parts.head_dim, latent.kv_size
        keys, values = (
            torch.cat((part, part.new_zeros(parts.heads, size - part.shape[1], inner)), dim=1).flatten(0, 1)
            for part in both.split([latent.unturned, latent.value], dim=1)
        )
        out = torch.cat((self._padded(_ordered(keys, parts.order, size), 0), self._padded(values, 0)))
        turned = torch.tensor([at - latent.unturned if at >= latent.unturned else -1 for at in parts.order])
        norm: Any = latent.q_norm
        q_size = 0 if norm is None else len(norm.weight)
        return LatentWeights(
            self._projection(weight, bias, len(weight), shape.width),
            self._projection(out, None, len(out), inner),
            NormWeights(self._address(norm and norm.weight, q_size), None),
            NormWeights(self._address(_weight(latent.kv_norm), inner), None),
            int(self._hold(turned.int()).data_ptr()),
            q_size,
            inner,
            latent.eps,
        )

    def _norm(self, norm: Any, width: int) -> NormWeights:
        return NormWeights(self._address(norm and norm.weight, width), self._address(_bias(norm), width))

    def _head_norm(self, norm: Any, shape: Shape) -> NormWeights:
        if norm is None:
            return NormWeights()
        weight = _ordered(norm.weight, self._parts.order, shape.head_dim)
        if self._parts.head_norms == "row":
            weight = self._padded(weight, 0)
        return NormWeights(self._address(weight, len(weight)), None)

    def _projection(self, weight: Any, bias: Any, outputs: int, inputs: int | None = None) -> Projection:
        width = inputs or int(weight.shape[1])
        return Projection(self._matrix(weight, outputs, width), self._address(bias, outputs), outputs)

    def _padded(self, x: Tensor, side: int) -> Tensor:
        """Zeros behind each head's numbers, which lie along that side."""
        missing = padded_head_dim(self._parts.head_dim) - self._parts.head_dim
        if not missing:
            return x
        apart = x.detach().unflatten(side, (-1, self._parts.head_dim))
        more = apart.new_zeros(*apart.shape[: side + 1], missing, *apart.shape[side + 2 :])
        return torch.cat((apart, more), dim=side + 1).flatten(side, side + 1)

    def _address(self, tensor: Any, *shape: int) -> int | None:
        """In float32, whatever matrices are in. Raises ValueError for what the compiled code would misread."""
        return None if tensor is None else int(self._hold(checked(tensor.float(), *shape)).data_ptr())

    def _matrix(self, tensor: Tensor, *shape: int) -> int:
        """Raises ValueError for what the compiled code would misread."""
        dtype = self._parts.embedding.weight.dtype
        return int(self._hold(checked(tensor, *shape, dtype=dtype)).data_ptr())

    def _hold(self, value: Any) -> Any:
        self._held.append(value)
        return value


def _ordered(x: Tensor, order: tuple[int, ...], size: int) -> Tensor:
    """The first side's heads with their numbers in that order."""
    return x.unflatten(0, (-1, size))[:, list(order)].flatten(0, 1) if order else x


def _on_panels(rows: Tensor) -> Tensor:
    """Zeros behind rows, up to whole panels."""
    return torch.cat((rows, rows.new_zeros(-len(rows) % PANEL, *rows.shape[1:])))


def _weight(norm: Any) -> Tensor:
    return norm.weight  # type: ignore[no-any-return]


def _bias(norm: Any) -> Tensor | None:
    return None if norm is None else dict(norm.named_parameters()).get("bias")


def _times(x: Tensor | None, scale: float) -> Tensor | None:
    return x if x is None or scale == 1 else x * scale


def checked(tensor: Tensor, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Returns the tensor in one piece. Raises ValueError for what the compiled code would misread."""
    if tensor.dtype != dtype or tensor.device.type != "cpu" or tuple(tensor.shape) != shape:
        seen = f"{tensor.dtype} {tuple(tensor.shape)} on {tensor.device}"
        raise ValueError(f"weights for sampling: seen {seen}, expected {dtype} {shape} on the CPU")
    return tensor.detach().contiguous()
