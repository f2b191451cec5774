"""``decode.cpp`` as Python sees it: its structures, and a batch of completions as a context manager."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_uint64, c_void_p
from dataclasses import dataclass

from groupwise.kernels.build import library

Floats = POINTER(c_float)
Ints = POINTER(c_int32)


class Shape(ctypes.Structure):
    _fields_ = [
        *((name, c_int32) for name in ("layers", "width", "heads", "kv_heads", "head_dim", "head_room")),
        *((name, c_int32) for name in ("hidden", "vocabulary", "ropes", "positions", "gelu")),
        *((name, c_float) for name in ("eps", "attention_scale", "attention_cap", "logit_cap")),
        *((name, c_float) for name in ("embedding_scale", "norm_offset")),
    ]


class Projection(ctypes.Structure):
    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("outputs", c_int32)]


class LayerWeights(ctypes.Structure):
    _fields_ = [
        *((name, Projection) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        *((name, c_void_p) for name in ("before_attention", "after_attention", "before_mlp", "after_mlp")),
        ("q_norm", c_void_p),
        ("k_norm", c_void_p),
        ("window", c_int32),
        ("rope", c_int32),
    ]


class Weights(ctypes.Structure):
    _fields_ = [
        ("shape", Shape),
        ("layers", POINTER(LayerWeights)),
        *((name, c_void_p) for name in ("embedding", "head", "head_bias", "norm")),
        ("cosines", POINTER(c_void_p)),
        ("sines", POINTER(c_void_p)),
    ]


class Rule(ctypes.Structure):
    _fields_ = [
        ("max_tokens", c_int32),
        ("top_k", c_int32),
        *((name, c_double) for name in ("temperature", "top_p", "min_p")),
    ]


class Requests(ctypes.Structure):
    _fields_ = [
        ("count", c_int32),
        *((name, Ints) for name in ("prompts", "prompt_sizes", "group_sizes")),
        ("seeds", POINTER(c_uint64)),
        ("rule", Rule),
        *((name, c_int32) for name in ("stop_tokens", "stop_strings", "pieces")),
        ("stop_ids", Ints),
        ("stops", POINTER(c_char_p)),
        ("stop_sizes", Ints),
        ("piece_bytes", POINTER(c_char_p)),
        ("piece_sizes", Ints),
        *((name, c_int32) for name in ("threads", "max_rows", "context", "every_token")),
    ]


class Event(ctypes.Structure):
    _fields_ = [
        *((name, c_int32) for name in ("request", "index", "token", "finished", "length", "kept")),
        *((name, Ints) for name in ("tokens", "kept_sizes", "kept_ids")),
        ("logprobs", POINTER(c_double)),
    ]


@dataclass(frozen=True)
class Decoder:
    """The compiled functions."""

    functions: ctypes.CDLL

    @staticmethod
    def load() -> Decoder | str:
        """Or why there are none."""
        functions = library("decode")
        if isinstance(functions, str):
            return functions
        functions.groupwise_begin.restype = c_void_p
        functions.groupwise_begin.argtypes = [POINTER(Weights), POINTER(Requests)]
        functions.groupwise_hear.restype = c_int32
        functions.groupwise_hear.argtypes = [c_void_p, c_double, POINTER(POINTER(Event)), POINTER(c_int32)]
        functions.groupwise_error.restype = c_char_p
        functions.groupwise_error.argtypes = [c_void_p]
        functions.groupwise_end.argtypes = [c_void_p]
        functions.groupwise_uniforms.argtypes = [c_uint64, c_uint64, c_int32, POINTER(c_double)]
        return Decoder(functions)

    def events(self, weights: Weights, requests: Requests) -> Iterator[Event]:
        """Each is good until the next is asked for. Closing the iterator ends the threads. Raises MemoryError."""
        handle = self.functions.groupwise_begin(ctypes.byref(weights), ctypes.byref(requests))
        if not handle:
            raise MemoryError("out of memory for the weights that sampling lays out anew")
        events, over = POINTER(Event)(), c_int32(0)
        try:
            while not over.value:
                count = self.functions.groupwise_hear(handle, 0.2, ctypes.byref(events), ctypes.byref(over))
                if over.value < 0:
                    raise MemoryError(self.functions.groupwise_error(handle).decode())
                for number in range(count):
                    yield events[number]
        finally:
            self.functions.groupwise_end(handle)

    def uniforms(self, seed: int, count: int) -> list[float]:
        """Of the random stream with this key, as ``engines.sampler.random_stream`` draws them."""
        drawn = (c_double * count)()
        self.functions.groupwise_uniforms(*halves(seed), count, drawn)
        return list(drawn)


def halves(seed: int) -> tuple[int, int]:
    """The low and the high 64 bits of a key."""
    return seed & (2**64 - 1), seed >> 64


def ints(values: Sequence[int]) -> ctypes.Array[c_int32]:
    return (c_int32 * max(1, len(values)))(*values)


def texts(values: Sequence[bytes]) -> ctypes.Array[c_char_p]:
    return (c_char_p * max(1, len(values)))(*values)
