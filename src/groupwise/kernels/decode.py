"""This module is ``decode.cpp`` as Python sees it: its structures, and a batch of completions under way."""

from __future__ import annotations

import ctypes
import os
import weakref
from collections.abc import Sequence
from ctypes import POINTER, byref, c_char_p, c_double, c_float, c_int32, c_int64, c_uint64, c_void_p
from dataclasses import dataclass
from typing import Any

from groupwise.kernels.build import library
from groupwise.kernels.calls import check

Floats = POINTER(c_float)
Ints = POINTER(c_int32)


class Shape(ctypes.Structure):
    """These are the sizes of a network as ``decode.cpp`` takes them; fields stand in its order."""

    _fields_ = [
        *((name, c_int32) for name in ("layers", "width", "heads", "kv_heads", "head_dim", "padded_head_dim")),
        *((name, c_int32) for name in ("vocabulary", "ropes", "positions", "activation")),
        *((name, c_float) for name in ("slope", "limit")),
        *((name, c_int32) for name in ("centred", "parallel", "head_norms", "half")),
        *((name, c_float) for name in ("eps", "attention_scale", "attention_cap", "logit_cap")),
        *((name, c_float) for name in ("embedding_scale", "norm_offset")),
    ]


class Projection(ctypes.Structure):
    """This is a linear layer: weight, bias or null, and how many outputs it has."""

    _fields_ = [("weight", c_void_p), ("bias", c_void_p), ("outputs", c_int32)]


class NormWeights(ctypes.Structure):
    """This is a norm: weight, and bias or null."""

    _fields_ = [("weight", c_void_p), ("bias", c_void_p)]


class MixtureWeights(ctypes.Structure):
    """This is a mixture of experts: router, experts, and how they are chosen."""

    _fields_ = [
        ("router", Projection),
        ("weights", c_void_p),
        ("biases", c_void_p),
        ("correction", c_void_p),
        *((name, c_int32) for name in ("chosen", "normalised", "sigmoid", "groups", "chosen_groups")),
        ("scale", c_float),
        ("hidden", c_int32),
    ]


class LatentWeights(ctypes.Structure):
    """These are the projections of attention over a compressed latent (DeepSeek-V2's MLA)."""

    _fields_ = [
        ("in_", Projection),
        ("out", Projection),
        ("q", NormWeights),
        ("kv", NormWeights),
        ("turned", c_void_p),
        ("q_size", c_int32),
        ("kv_size", c_int32),
        ("eps", c_float),
    ]


class LayerWeights(ctypes.Structure):
    """These are the weights of one block; what a block has not is null."""

    _fields_ = [
        *((name, Projection) for name in ("q", "k", "v", "o", "gate", "up", "down")),
        *((name, NormWeights) for name in ("before_attention", "after_attention", "before_mlp", "after_mlp")),
        *((name, NormWeights) for name in ("q_norm", "k_norm")),
        ("mixture", MixtureWeights),
        ("latent", LatentWeights),
        ("sinks", c_void_p),
        *((name, c_int32) for name in ("hidden", "window", "rope", "query_rope")),
    ]


class Weights(ctypes.Structure):
    """This is a whole network: its sizes, embedding, blocks, last norm and head."""

    _fields_ = [
        ("shape", Shape),
        ("layers", POINTER(LayerWeights)),
        *((name, c_void_p) for name in ("embedding", "places", "head", "head_bias")),
        ("norm", NormWeights),
        ("cosines", POINTER(c_void_p)),
        ("sines", POINTER(c_void_p)),
    ]


class Rule(ctypes.Structure):
    """This rule says how the completions of a request are drawn, and where they end."""

    _fields_ = [
        ("max_tokens", c_int32),
        ("top_k", c_int32),
        *((name, c_double) for name in ("temperature", "top_p", "min_p")),
    ]


class Rules(ctypes.Structure):
    """These rules hold for a whole batch: the rule, stop ids and texts, threads."""

    _fields_ = [
        ("rule", Rule),
        *((name, c_int32) for name in ("stop_tokens", "stop_strings", "pieces")),
        ("stop_ids", Ints),
        ("stops", POINTER(c_char_p)),
        ("stop_sizes", Ints),
        ("piece_bytes", POINTER(c_char_p)),
        ("piece_sizes", Ints),
        *((name, c_int32) for name in ("threads", "max_rows", "context", "every_token")),
    ]


class Requests(ctypes.Structure):
    """These are prompts that are submitted together, as arrays one behind the other."""

    _fields_ = [
        ("count", c_int32),
        *((name, Ints) for name in ("numbers", "prompts", "prompt_sizes", "forced", "forced_sizes", "group_sizes")),
        ("seeds", POINTER(c_uint64)),
        *((name, Ints) for name in ("most", "keeps", "follows")),
    ]


class Event(ctypes.Structure):
    """This is one thing that happened: a token that was drawn, or a completion that ended."""

    _fields_ = [
        *((name, c_int32) for name in ("request", "index", "token", "finished", "length", "kept")),
        *((name, Ints) for name in ("tokens", "kept_sizes", "kept_ids")),
        ("logprobs", POINTER(c_double)),
    ]


@dataclass(frozen=True)
class Decoder:
    """This object holds the compiled functions."""

    functions: ctypes.CDLL

    @staticmethod
    def load() -> Decoder | str:
        """Loads the compiled functions, or says why there are none."""
        functions = library("decode")
        if isinstance(functions, str):
            return functions
        tables, counts = POINTER(c_void_p), [POINTER(c_int32), POINTER(c_int32)]
        arguments = {
            "begin": [POINTER(Weights), POINTER(Rules), POINTER(c_void_p)],
            "reach": [c_void_p, c_int32, tables, tables],
            "submit": [c_void_p, POINTER(Requests)],
            "cancel": [c_void_p, POINTER(c_int32), c_int32],
            "held": [c_void_p, POINTER(c_int64)],
            "poll": [c_void_p, c_double, POINTER(POINTER(Event)), *counts],
            "end": [c_void_p],
            "uniforms": [c_uint64, c_uint64, c_int32, POINTER(c_double)],
        }
        for name, types in arguments.items():
            function = getattr(functions, f"groupwise_{name}")
            function.argtypes, function.restype = types, None if name == "uniforms" else c_int32
        functions.groupwise_error.argtypes, functions.groupwise_error.restype = [], c_char_p
        functions.groupwise_has_bfloat.argtypes, functions.groupwise_has_bfloat.restype = [], c_int32
        return Decoder(functions)

    def begin(self, weights: Weights, rules: Rules) -> Batch:
        """A batch that nothing was submitted to yet. Raises as every call of a batch does."""
        return Batch(self.functions, weights, rules)

    @property
    def has_bfloat(self) -> bool:
        """Says whether weights may be bfloat16: where the processor has instructions for it."""
        return bool(self.functions.groupwise_has_bfloat())

    def uniforms(self, seed: int, count: int) -> list[float]:
        """Returns numbers of the random stream with this key, as ``engines.sampler.random_stream`` draws them."""
        drawn = (c_double * count)()
        self.functions.groupwise_uniforms(*halves(seed), count, drawn)
        return list(drawn)


class Batch:
    """A batch is completions under way in compiled code, on threads of its own until it is closed.

    Every call raises MemoryError where there is none left, RuntimeError for whatever else goes wrong in there. Calls
    may come from several threads, but ``close`` from none while another is in here.
    """

    def __init__(self, functions: ctypes.CDLL, weights: Weights, rules: Rules) -> None:
        self._functions, self._handle = functions, c_void_p()
        check(functions, "sampling", functions.groupwise_begin(byref(weights), byref(rules), byref(self._handle)))
        self._closing = weakref.finalize(self, _end, functions, os.getpid(), self._handle.value)

    def submit(self, requests: Requests) -> None:
        """Takes groups, which may begin at once."""
        self._call("submit", byref(requests))

    def reach(self, positions: int, cosines: Any, sines: Any) -> None:
        """Takes longer tables for the ropes."""
        self._call("reach", positions, cosines, sines)

    def cancel(self, numbers: Sequence[int]) -> None:
        """Gives back what groups have, and what was kept of them; nothing where there is no such group."""
        self._call("cancel", ints(numbers), len(numbers))

    def poll(self, seconds: float) -> tuple[list[Event], bool]:
        """Returns what happened, after at most about so long, and whether nothing is under way. Events are good until
        the next call."""
        events, count, over = POINTER(Event)(), c_int32(0), c_int32(0)
        self._call("poll", seconds, byref(events), byref(count), byref(over))
        return events[: count.value] if count.value else [], bool(over.value)

    def held(self) -> int:
        """Counts the pages of sixteen positions that prompts and completions have, those that are kept among them."""
        pages = c_int64(0)
        self._call("held", byref(pages))
        return pages.value

    def close(self) -> None:
        """Ends the threads and gives everything back; again, nothing."""
        self._closing()

    def _call(self, name: str, *arguments: Any) -> None:
        assert self._closing.alive, "the batch is closed"
        check(self._functions, "sampling", getattr(self._functions, f"groupwise_{name}")(self._handle, *arguments))


def _end(functions: ctypes.CDLL, process: int, handle: int | None) -> None:
    """In a child of the process that began it a batch has no threads, and nothing is to be ended."""
    if process == os.getpid():
        functions.groupwise_end(handle)


def halves(seed: int) -> tuple[int, int]:
    """Returns the low and the high 64 bits of a key."""
    return seed & (2**64 - 1), seed >> 64


def ints(values: Sequence[int]) -> ctypes.Array[c_int32]:
    """Returns an array of 32-bit numbers, of one element at least."""
    return (c_int32 * max(1, len(values)))(*values)


def texts(values: Sequence[bytes]) -> ctypes.Array[c_char_p]:
    """Returns an array of byte strings, of one element at least."""
    return (c_char_p * max(1, len(values)))(*values)
