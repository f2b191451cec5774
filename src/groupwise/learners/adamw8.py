"""This is AdamW whose state takes two bytes a parameter instead of eight: one for each moment, and a scale for each
block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

BLOCK = 256
SMALLEST = 4_096  # elements; what is smaller keeps a state of 32 bits, as norms should
PIECE = 2**20  # elements that are 32 bits wide at once


class AdamW8:
    """This optimizer is ``torch.optim.AdamW`` but for its state (after arXiv 2110.02861, with codes that need no
    table).

    A first moment is kept as its signed square root, a second one as its fourth root, in 127 and 255 steps of the
    block's largest: so both are precise to under two per cent of themselves down to a hundredth of it in the update's
    own unit, which is the first moment over the square root of the second. A second moment is never kept as 0.
    """

    def __init__(
        self, groups: Sequence[Sequence[nn.Parameter]], betas: tuple[float, float], weight_decay: float
    ) -> None:
        self.param_groups: list[dict[str, Any]] = [{"params": list(group), "lr": 0.0} for group in groups]
        self.betas, self.weight_decay, self.eps = betas, weight_decay, 1e-8
        self.steps = 0
        self.states = [_State.zeros(parameter) for parameter in self._parameters()]

    def _parameters(self) -> Iterator[nn.Parameter]:
        return (parameter for group in self.param_groups for parameter in group["params"])

    def has_learned(self, parameter: nn.Parameter) -> bool:
        """Says whether a gradient other than 0 ever came to this parameter: its second moment tells."""
        states = dict(zip(map(id, self._parameters()), self.states, strict=True))
        return bool(states[id(parameter)].parts[-1].any())

    @torch.no_grad()
    def step(self) -> None:
        """Updates every parameter that has a gradient, at its group's ``lr``."""
        self.steps += 1
        rates = [group["lr"] for group in self.param_groups for _ in group["params"]]
        for parameter, state, rate in zip(self._parameters(), self.states, rates, strict=True):
            if parameter.grad is not None:
                parameter.mul_(1 - rate * self.weight_decay)
                flat, gradient = parameter.view(-1), parameter.grad.reshape(-1)
                for start in range(0, len(flat), PIECE):
                    piece = slice(start, min(start + PIECE, len(flat)))
                    flat[piece] -= rate * self._change(state, piece, gradient[piece])

    def _change(self, state: _State, piece: slice, gradient: Tensor) -> Tensor:
        """Returns Adam's direction (arXiv 1412.6980, algorithm 1) and moves its state on."""
        first, second = state.read(piece)
        gradient = gradient.to(first.dtype)
        first.lerp_(gradient, 1 - self.betas[0])
        second.mul_(self.betas[1]).addcmul_(gradient, gradient, value=1 - self.betas[1])
        state.write(piece, first, second)
        unbiased = first / (1 - self.betas[0] ** self.steps)
        return unbiased / ((second / (1 - self.betas[1] ** self.steps)).sqrt_() + self.eps)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drops the gradients of all parameters."""
        for parameter in self._parameters():
            parameter.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Returns how many steps were made and both moments of every parameter, as tensors and numbers."""
        return {"steps": self.steps, "states": [list(state.parts) for state in self.states]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The inverse of ``state_dict``, on the same parameters."""
        self.steps = state["steps"]
        for own, saved in zip(self.states, state["states"], strict=True):
            for to, part in zip(own.parts, saved, strict=True):
                to.copy_(part)


class _State:
    """This holds both moments of one parameter, flat: two tensors of 32 bits, or codes and scales of each."""

    def __init__(self, parts: list[Tensor]) -> None:
        self.parts = parts

    @staticmethod
    def zeros(parameter: Tensor) -> _State:
        size, device = parameter.numel(), parameter.device
        if size < SMALLEST:
            return _State([torch.zeros(size, device=device) for _ in range(2)])
        blocks = -(-size // BLOCK)
        codes = [torch.zeros(size, dtype=dtype, device=device) for dtype in (torch.int8, torch.uint8)]
        return _State([*codes, *(torch.zeros(blocks, device=device) for _ in range(2))])

    def read(self, piece: slice) -> tuple[Tensor, Tensor]:
        if len(self.parts) == 2:
            return self.parts[0][piece], self.parts[1][piece]
        codes, scales = self._of(piece)
        first, second = codes[0].float() / 127, codes[1].float() / 255
        each = [scale.repeat_interleave(BLOCK)[: len(first)] for scale in scales]
        return first * first.abs() * each[0], second.pow_(4) * each[1]

    def write(self, piece: slice, first: Tensor, second: Tensor) -> None:
        if len(self.parts) == 2:
            return
        codes, scales = self._of(piece)
        for moment, scale in zip((first, second), scales, strict=True):
            scale.copy_(_largest(moment))
        each = [scale.clamp(min=1e-38).repeat_interleave(BLOCK)[: len(first)] for scale in scales]
        root = (first / each[0]).abs_().sqrt_().copysign_(first)
        codes[0].copy_((root * 127).round_())
        codes[1].copy_(((second / each[1]).pow_(0.25) * 255).round_().clamp_(1, 255))

    def _of(self, piece: slice) -> tuple[list[Tensor], list[Tensor]]:
        blocks = slice(piece.start // BLOCK, -(-piece.stop // BLOCK))
        return [codes[piece] for codes in self.parts[:2]], [scales[blocks] for scales in self.parts[2:]]


def _largest(x: Tensor) -> Tensor:
    """Returns the largest number of each block, in size."""
    padded = nn.functional.pad(x.abs(), (0, -len(x) % BLOCK))
    return padded.view(-1, BLOCK).amax(1)
