"""What the machine can do at most, measured: matrix products and copies. And how much of it a computation needs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Weights:
    """Of a decoder, in numbers that cost something: ``blocks`` multiplies every token, ``head`` those that predict."""

    blocks: int
    head: int
    layers: int
    attention_width: int
    """Heads times their width."""
    kv_width: int
    """Key-value heads times their width."""

    @staticmethod
    def of(model: torch.nn.Module) -> Weights:
        """Of a transformers model: every matrix in a block, and the output matrix whether it is tied or not."""
        config = model.config
        named = [(name, p.numel()) for name, p in model.named_parameters() if p.dim() == 2]
        blocks = sum(count for name, count in named if ".layers." in name)
        width = model.model.layers[0].self_attn.head_dim
        return Weights(
            blocks, config.vocab_size * config.hidden_size, config.num_hidden_layers,
            config.num_attention_heads * width, config.num_key_value_heads * width,
        )  # fmt: skip

    def forward_flops(self, prompts: int, group: int, prompt: int, completion: int) -> float:
        """Of ``prompts`` groups, each one's prompt computed once: 2 a weight and token, attention's products."""
        rows = prompts * group
        tokens = prompts * prompt + rows * completion
        seen = prompts * prompt * prompt / 2 + rows * completion * (prompt + completion / 2)
        predicted = rows * completion
        return 2.0 * (self.blocks * tokens + self.head * predicted) + 4.0 * self.layers * self.attention_width * seen

    def decode_bytes(self, rows: int, context: float, each: int) -> float:
        """Read for one token of every row, ``each`` bytes a number: all weights once, each row's keys and values."""
        return each * (self.blocks + self.head + 2.0 * rows * context * self.layers * self.kv_width)


def best_seconds(run: Callable[[], object], device: str, times: int) -> float:
    """The least of several, the first not counted."""
    run()
    found = []
    for _ in range(times):
        settle(device)
        begun = time.perf_counter()
        run()
        settle(device)
        found.append(time.perf_counter() - begun)
    return min(found)


def settle(device: str) -> None:
    """Waits for what was started on a GPU."""
    if device == "cuda":
        torch.cuda.synchronize()


def matrix_flops(device: str, dtype: torch.dtype, size: int, times: int = 8) -> float:
    """FLOP/s of a square matrix product."""
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    out = torch.empty(size, size, device=device, dtype=dtype)
    return 2.0 * size**3 / best_seconds(lambda: torch.mm(left, right, out=out), device, times)


def copy_bytes(device: str, megabytes: int, times: int = 8) -> float:
    """Bytes/s read and written by a copy far larger than any cache."""
    source = torch.empty(megabytes * 2**20 // 4, device=device).normal_()
    target = torch.empty_like(source)
    return 2.0 * source.numel() * 4 / best_seconds(lambda: target.copy_(source), device, times)
