"""The border to ``learn.cpp``: what is handed over by pointer is looked at first, a code that comes back is an error.

``views.h`` has the same structures. Whoever makes one keeps the tensors alive until the call returns.
"""

from __future__ import annotations

import ctypes
import functools
import math
from ctypes import POINTER, c_char_p, c_float, c_int, c_int32, c_int64, c_void_p
from typing import Any

import torch
from torch import Tensor

from groupwise.kernels.build import library

DONE, NO_MEMORY = 0, 1


class View(ctypes.Structure):
    """A view is rows of float32 in this machine's memory, and how many numbers one begins after the other."""

    _fields_ = [("data", c_void_p), ("rows", c_int64), ("width", c_int64), ("stride", c_int64)]

    @classmethod
    def of(cls, x: Tensor | None) -> View:
        """A vector is one row; dimensions after the first lie side by side in a row. Raises ValueError for what the
        compiled code would misread: another type, another device, rows with gaps in them."""
        if x is None:
            return cls(None, 0, 0, 0)
        _expect_here(x, torch.float32)
        rows, width = (1, len(x)) if x.dim() == 1 else (len(x), math.prod(x.shape[1:]))
        return cls(x.data_ptr(), rows, width, x.stride(0) if x.dim() > 1 and rows > 1 else width)

    @classmethod
    def of_weight(cls, x: Tensor) -> View:
        """Returns a view of a matrix in float32 or bfloat16; whoever takes it is told which of them (``is_half``)."""
        if not is_half(x):
            return cls.of(x)
        _expect_here(x, torch.bfloat16)
        return cls(x.data_ptr(), len(x), x.shape[1], x.stride(0) if len(x) > 1 else x.shape[1])

    @classmethod
    def from_param(cls, given: Any) -> View:
        """Takes a tensor, or None, as an argument of a compiled function."""
        return given if isinstance(given, cls) else cls.of(given)


class Numbers(ctypes.Structure):
    """These are whole numbers of 64 bits, one after the other."""

    _fields_ = [("data", c_void_p), ("count", c_int64)]

    @classmethod
    def of(cls, x: Tensor) -> Numbers:
        """Returns a view of a row of 32-bit numbers. Raises ValueError for a tensor of another kind."""
        _expect_here(x, torch.int64)
        return cls(x.data_ptr(), x.numel())

    @classmethod
    def from_param(cls, given: Any) -> Numbers:
        """Takes a tensor as an argument of a compiled function."""
        return given if isinstance(given, cls) else cls.of(given)


class Spans(ctypes.Structure):
    """These are rows of ``width`` numbers of 32 bits."""

    _fields_ = [("data", c_void_p), ("count", c_int64)]

    @classmethod
    def of(cls, x: Tensor, width: int) -> Spans:
        """Returns a view of ``[n, width]`` 32-bit numbers. Raises ValueError for a tensor of another kind."""
        _expect_here(x, torch.int32)
        if x.dim() != 2 or x.shape[1] != width or not x.is_contiguous():
            raise ValueError(f"spans: seen {tuple(x.shape)}, expected [n, {width}] in one piece")
        return cls(x.data_ptr(), len(x))


def is_half(x: Tensor) -> bool:
    """Says whether a tensor's numbers are bfloat16."""
    return x.dtype == torch.bfloat16


def _expect_here(x: Tensor, dtype: torch.dtype) -> None:
    inner = x[0] if x.dim() > 1 and len(x) else x
    if x.dtype != dtype or x.device.type != "cpu" or not inner.is_contiguous():
        seen = f"{x.dtype} {tuple(x.shape)} with strides {x.stride()} on {x.device}"
        raise ValueError(f"compiled code: seen {seen}, expected {dtype} on the CPU whose rows are in one piece")


def fields(**kinds: Any) -> list[tuple[str, Any]]:
    """Returns fields of a structure in the order in which they are named."""
    return list(kinds.items())


class RopeArguments(ctypes.Structure):
    """These arguments rotate queries and keys: tables, positions, norms of heads, and sizes."""

    _fields_ = [
        *fields(cos=View, sin=View, positions=Numbers, q_norm=View, k_norm=View),
        *fields(q=c_int32, kv=c_int32, size=c_int32, eps=c_float),
    ]


class LayerViews(ctypes.Structure):
    """This is a linear layer: weight, bias, and the two matrices of an adapter; and whether the weight is bfloat16."""

    _fields_ = fields(weight=View, bias=View, a=View, b=View, half=c_int32)


class ProjectCall(ctypes.Structure):
    """This is the first half of a block: norm, queries, keys and values, and their rotation."""

    _fields_ = fields(
        x=View, norm=View, qkv=LayerViews, rope=RopeArguments, raw=View, made=View, tile=c_int32, eps=c_float
    )  # fmt: skip


class ProjectGradients(ctypes.Structure):
    """These are the gradients of ``ProjectCall``."""

    _fields_ = fields(
        dq=View, dk=View, dv=View, dx=View, norm=View, q_norm=View, k_norm=View, qkv=LayerViews
    )  # fmt: skip


class FinishCall(ctypes.Structure):
    """This is the second half of a block: what follows attention."""

    _fields_ = [
        *fields(x=View, mixed=View, after_attention=View, before=View, after=View),
        *fields(out=LayerViews, gate_up=LayerViews, down=LayerViews),
        *fields(attended=View, middle=View, kept=View, added=View, result=View),
        *fields(gelu=c_int32, tile=c_int32, eps=c_float),
    ]


class FinishGradients(ctypes.Structure):
    """These are the gradients of ``FinishCall``."""

    _fields_ = [
        *fields(dy=View, dx=View, dmixed=View, after_attention=View, before=View, after=View),
        *fields(out=LayerViews, gate_up=LayerViews, down=LayerViews),
    ]


class AttentionCall(ctypes.Structure):
    """This is attention of completions over their prompts and themselves."""

    _fields_ = [
        *fields(q=View, k=View, v=View, prompts=Spans, completions=Spans),
        *fields(heads=c_int32, kv_heads=c_int32, head_dim=c_int32, longest=c_int32, scale=c_float),
        *fields(out=View, normalisers=View),
    ]


class AttentionGradients(ctypes.Structure):
    """These are the gradients of ``AttentionCall``."""

    _fields_ = fields(dout=View, dq=View, dk=View, dv=View)


class TokenLogprobsCall(ctypes.Structure):
    """This is the head: log-probabilities and entropies of given tokens from hidden states."""

    _fields_ = [
        *fields(hidden=View, matrix=View, half=c_int32, targets=Numbers),
        *fields(scale=c_float, tile=c_int32, strands=c_int32),
        *fields(kept=View, found=View),
    ]


POOL = c_void_p
ARGUMENTS: dict[str, list[Any]] = {
    "use_product": [c_void_p, c_void_p],
    "threads_open": [c_int, POINTER(c_void_p)],
    "threads_close": [POOL],
    "norm_forward": [View, View, c_float, View, POOL],
    "norm_backward": [View, View, c_float, View, View, View, POOL],
    "heads_forward": [View, POINTER(RopeArguments), View, POOL],
    "heads_backward": [View, POINTER(RopeArguments), View, View, View, View, View, View, POOL],
    "swiglu_forward": [View, View, POOL],
    "swiglu_backward": [View, View, View, View, POOL],
    "token_logprob_forward": [View, Numbers, c_float, View, POOL],
    "token_logprob_backward": [View, Numbers, c_float, View, View, POOL],
    "attention_forward": [POINTER(AttentionCall), POOL],
    "attention_backward": [POINTER(AttentionCall), POINTER(AttentionGradients), POOL],
    "project": [POINTER(ProjectCall), POOL],
    "project_backward": [POINTER(ProjectCall), POINTER(ProjectGradients), POOL],
    "finish": [POINTER(FinishCall), POOL],
    "finish_backward": [POINTER(FinishCall), POINTER(FinishGradients), POOL],
    "token_logprobs": [POINTER(TokenLogprobsCall), POOL],
    "token_logprobs_backward": [POINTER(TokenLogprobsCall), View, View, View, POOL],
}


@functools.cache
def learner() -> ctypes.CDLL | str:
    """Returns ``learn.cpp`` with the types of all its functions; or why there is none."""
    found = library("learn")
    if isinstance(found, str):
        return found
    for name, arguments in ARGUMENTS.items():
        function = getattr(found, name)
        function.argtypes, function.restype = arguments, c_int
    found.has_bfloat.argtypes, found.has_bfloat.restype = [], c_int
    found.groupwise_error.argtypes, found.groupwise_error.restype = [], c_char_p
    return found


def call(name: str, *arguments: Any) -> None:
    """Raises MemoryError where there is none left, RuntimeError for whatever else went wrong."""
    functions = learner()
    assert not isinstance(functions, str), functions
    check(functions, name, getattr(functions, name)(*arguments))


def check(functions: ctypes.CDLL, name: str, code: int) -> None:
    """Raises what went wrong in a function of ``functions`` that returned ``code``, in this thread."""
    if code == NO_MEMORY:
        raise MemoryError(f"out of memory in {name}, which is compiled code")
    if code != DONE:
        raise RuntimeError(f"{name}, which is compiled code: {functions.groupwise_error().decode()}")
