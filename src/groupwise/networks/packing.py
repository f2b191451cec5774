"""A packing lays sequences side by side without padding; those with one prompt share it, and it stands there once."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

import torch
from torch import Tensor

Ids = Sequence[int]


@dataclass(frozen=True)
class Packing:
    """A packing holds N tokens of families: a prompt, then each of its completions. A completion sees its prompt and
    itself.

    ``of([([5, 6], [7, 8]), ([5, 6], [9])])`` is::

        tokens        5  6  7  8  9
        positions     0  1  2  3  2
        prompts       [[0, 2, 0, 2]]
        completions   [[2, 2], [4, 1]]
    """

    tokens: Tensor  # [N] int64
    positions: Tensor  # [N] int64
    prompts: Tensor  # [F, 4] int32 on the CPU: start, length, first completion, one past the last
    completions: Tensor  # [C, 2] int32 on the CPU: start, length
    ends: tuple[int, ...]
    """Of each sequence that was given: where its prompt's last token stands."""
    starts: tuple[int, ...]
    """Where the first token of its completion stands, or would."""
    lengths: tuple[int, ...]
    """Of prompt and completion together."""
    plans: dict[Any, Any] = field(default_factory=dict, compare=False)
    """What attention has worked out of it, once for all layers."""

    @property
    def longest(self) -> int:
        """Counts the tokens of a prompt and its completion, at most."""
        return max(self.lengths, default=0)

    @property
    def families(self) -> int:
        """Returns how many prompts there are."""
        return len(self.prompts)

    @staticmethod
    def of(
        sequences: Sequence[tuple[Ids, Ids]],
        device: torch.device | str = "cpu",
        keys: Sequence[Hashable] | None = None,
    ) -> Packing:
        """Packs (prompt, completion) pairs; prompts are not empty.

        Those with one of the ``keys`` share their prompt; without keys those whose prompts have the same tokens.
        """
        rows: dict[Hashable, list[int]] = {}
        for row, (prompt, _) in enumerate(sequences):
            rows.setdefault(tuple(prompt) if keys is None else keys[row], []).append(row)
        parts: list[Ids] = []
        positions: list[range] = []
        prompts: list[tuple[int, int, int, int]] = []
        completions: list[tuple[int, int]] = []
        ends, starts = [0] * len(sequences), [0] * len(sequences)
        at, lengths = 0, tuple(len(prompt) + len(completion) for prompt, completion in sequences)
        for members in rows.values():
            prompt = sequences[members[0]][0]
            prompts.append((at, len(prompt), len(completions), len(completions) + len(members)))
            parts.append(prompt)
            positions.append(range(len(prompt)))
            end, at = at + len(prompt) - 1, at + len(prompt)
            for row in members:
                completion = sequences[row][1]
                ends[row], starts[row] = end, at
                completions.append((at, len(completion)))
                parts.append(completion)
                positions.append(range(len(prompt), len(prompt) + len(completion)))
                at += len(completion)
        return Packing(
            torch.tensor(list(chain.from_iterable(parts)), dtype=torch.long, device=device),
            torch.tensor(list(chain.from_iterable(positions)), dtype=torch.long, device=device),
            torch.tensor(prompts, dtype=torch.int32).view(-1, 4),
            torch.tensor(completions, dtype=torch.int32).view(-1, 2),
            tuple(ends),
            tuple(starts),
            lengths,
        )
