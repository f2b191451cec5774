"""``decode.cpp`` as Python sees it: its structures, and a batch of completions as a context manager."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from ctypes import POINTER, c_char_p, c_double, c_float, c_int32, c_uint64, c_void_p
from dataclasses import dataclass

from groupwise.kernels.build import library
from groupwise.kernels.calls import check

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
        counts = [POINTER(c_int32), POINTER(c_int32)]
        arguments = {
            "begin": [POINTER(Weights), POINTER(Requests), POINTER(c_void_p)],
            "hear": [c_void_p, c_double, POINTER(POINTER(Event)), *counts],
            "end": [c_void_p],
            "uniforms": [c_uint64, c_uint64, c_int32, POINTER(c_double)],
        }
        for name, types in arguments.items():
            function = getattr(functions, f"groupwise_{name}")
            function.argtypes, function.restype = types, None if name == "uniforms" else c_int32
        functions.groupwise_error.argtypes, functions.groupwise_error.restype = [], c_char_p
        return Decoder(functions)

    def events(self, weights: Weights, requests: Requests) -> Iterator[Event]:
        """Each is good until the next is asked for. Closing the iterator ends the threads. Raises MemoryError where
        there is none left, RuntimeError for whatever else goes wrong in there."""
        handle, events, count, over = c_void_p(), POINTER(Event)(), c_int32(0), c_int32(0)
        begin = self.functions.groupwise_begin
        check(self.functions, "sampling", begin(*map(ctypes.byref, (weights, requests, handle))))
        try:
            heard = ctypes.byref(events), ctypes.byref(count), ctypes.byref(over)
            while not over.value:
                check(self.functions, "sampling", self.functions.groupwise_hear(handle, 0.2, *heard))
                for number in range(count.value):
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
