"""This module sends weights to vLLM servers from GPU to GPU: NCCL's broadcast, by the interface of vLLM's own weight
transfer.

Experimental: it was written by the interface of vLLM 0.32 and has not been run on a GPU. ``benchmarks/vllm_nccl.py``
measures it beside the folder where two GPUs are at hand.
"""

from __future__ import annotations

import base64
import ctypes
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import Protocol

import torch
from torch import Tensor

from groupwise.engines.vllm_client import Client, ServerError
from groupwise.errors import UserError

TYPES = {torch.float16: 6, torch.float32: 7, torch.float64: 8, torch.bfloat16: 9}
"""NCCL's numbers of types (nccl.h)."""
SUM = 0
UNIQUE_BYTES = 128
REFUSAL_SECONDS = 5.0
"""A server that takes no weights this way says so within; joining a group that it does not join would never end."""


class Library(Protocol):
    """These are the calls of NCCL that a transfer makes; each raises OSError where NCCL does."""

    def unique_id(self) -> bytes:
        """Returns the id by which members of a group find each other."""

    def join(self, count: int, unique_id: bytes) -> int:
        """Becomes the first of ``count`` members; returns once all are there."""
        ...

    def meet(self, member: int) -> None:
        """Adds up one number over all members, as vLLM's workers do first."""
        ...

    def send(self, member: int, tensor: Tensor) -> None:
        """Gives a tensor to all members."""
        ...

    def leave(self, member: int) -> None:
        """Takes this member out of its group."""


class Transfer:
    """This is the link to one server: the learner is the first member of its group, the server's workers the others."""

    def __init__(self, client: Client, library: Library, workers: int = 0) -> None:
        """``workers``: how many the server has; 0: as it says. Raises ServerError where it does not join."""
        self._client, self._library = client, library
        count = 1 + (workers or int(client.get("/get_world_size")["world_size"]))
        name = library.unique_id()
        said = {"nccl_unique_id_b64": base64.b64encode(name).decode(), "rank_offset": 1, "world_size": count}
        said |= {"packed": False}
        self._thread = ThreadPoolExecutor(1, "vllm-weights")
        joined = self._thread.submit(client.post, "/init_weight_transfer_engine", {"init_info": said})
        if wait([joined], REFUSAL_SECONDS).done:
            joined.result(timeout=0)
            raise ServerError(client.address.url, "it said it had joined before there was a group")
        self._member = library.join(count, name)
        library.meet(self._member)
        joined.result(timeout=client.timeout_seconds)

    def send(self, weights: Iterable[tuple[str, Tensor]]) -> None:
        """Gives a paused server new weights, one after the other. Raises ServerError where it does not take them."""
        tensors = [(name, tensor.detach().contiguous()) for name, tensor in weights]
        strange = next((str(tensor.dtype) for _, tensor in tensors if tensor.dtype not in TYPES), None)
        if strange:
            raise UserError(f"engine.transfer nccl: weights of {strange}; expected {', '.join(map(str, TYPES))}")
        told = {
            "names": [name for name, _ in tensors],
            "dtype_names": [str(tensor.dtype).removeprefix("torch.") for _, tensor in tensors],
            "shapes": [list(tensor.shape) for _, tensor in tensors],
        }
        self._client.post("/start_weight_update")
        taken = self._thread.submit(self._client.post, "/update_weights", {"update_info": told})
        for _, tensor in tensors:
            if taken.done():  # it refused: nobody would receive the next one
                break
            self._library.send(self._member, tensor)
        taken.result(timeout=self._client.timeout_seconds)
        self._client.post("/finish_weight_update")

    def close(self) -> None:
        """Leaves the group in which this process and the server exchange weights."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._library.leave(self._member)


class _UniqueId(ctypes.Structure):
    """This is NCCL's ``ncclUniqueId``, by which members of a group find each other."""

    _fields_ = [("bytes", ctypes.c_byte * UNIQUE_BYTES)]


class Nccl:
    """This is NCCL as torch brings it: ``Library`` by ctypes."""

    def __init__(self) -> None:
        if not torch.cuda.is_available():
            raise UserError("engine.transfer nccl: no GPU is here; expected engine.transfer folder")
        self._nccl = ctypes.CDLL("libnccl.so.2")
        self._nccl.ncclGetErrorString.restype = ctypes.c_char_p
        self._members: list[ctypes.c_void_p] = []

    def unique_id(self) -> bytes:
        """Returns the id by which members of a group find each other."""
        found = _UniqueId()
        self._called(self._nccl.ncclGetUniqueId(ctypes.byref(found)))
        return bytes(found.bytes)

    def join(self, count: int, unique_id: bytes) -> int:
        """Begins to join a group of ``count`` members as the first of them, and returns its handle."""
        name, member = _UniqueId.from_buffer_copy(unique_id), ctypes.c_void_p()
        self._called(self._nccl.ncclCommInitRank(ctypes.byref(member), ctypes.c_int(count), name, ctypes.c_int(0)))
        self._members.append(member)
        return len(self._members) - 1

    def meet(self, member: int) -> None:
        """Waits until all members are there."""
        one = torch.zeros(1, device="cuda")
        at, size = ctypes.c_void_p(one.data_ptr()), ctypes.c_size_t(1)
        kind = ctypes.c_int(TYPES[torch.float32])
        group, stream = self._members[member], self._stream()
        self._called(self._nccl.ncclAllReduce(at, at, size, kind, ctypes.c_int(SUM), group, stream))
        torch.cuda.synchronize()

    def send(self, member: int, tensor: Tensor) -> None:
        """Broadcasts a tensor to the others."""
        there = tensor.cuda()
        at, size, kind = ctypes.c_void_p(there.data_ptr()), ctypes.c_size_t(there.numel()), TYPES[there.dtype]
        group, stream = self._members[member], self._stream()
        self._called(self._nccl.ncclBroadcast(at, at, size, ctypes.c_int(kind), ctypes.c_int(0), group, stream))
        torch.cuda.synchronize()  # the tensor stays until it is sent

    def leave(self, member: int) -> None:
        """Takes this member out of its group."""
        self._called(self._nccl.ncclCommDestroy(self._members[member]))

    def _stream(self) -> ctypes.c_void_p:
        return ctypes.c_void_p(torch.cuda.current_stream().cuda_stream)

    def _called(self, status: int) -> None:
        if status:
            raise OSError(f"NCCL: {self._nccl.ncclGetErrorString(status).decode()}")


class Transfers:
    """These are the links to all servers, made when they are first needed and again after a server was lost."""

    def __init__(self, library: Library | None = None) -> None:
        self._library, self._links = library, dict[str, Transfer]()

    def send(self, client: Client, weights: Sequence[tuple[str, Tensor]], again: bool) -> None:
        """Gives one server weights; ``again``: by a new link. Raises ServerError where it does not take them."""
        self._library = self._library or Nccl()
        url = client.address.url
        try:
            if again and url in self._links:
                self._links.pop(url).close()
            if url not in self._links:
                self._links[url] = Transfer(client, self._library)
            self._links[url].send(weights)
        except (OSError, TimeoutError) as error:
            self._links.pop(url, None)
            raise ServerError(url, f"its weights did not arrive by NCCL: {error}", status=500) from error
