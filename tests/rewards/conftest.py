from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from groupwise.types import Example, Prompt, Rollout, Text


@pytest.fixture
def rollout() -> Callable[..., Rollout]:
    def make(
        text: str = "#### 4",
        answer: str | None = "4",
        prompt: Text = "2+2=",
        tokens: int = 2,
        id: str = "row:1",
        **columns: Any,
    ) -> Rollout:
        example = Example(id, prompt, answer=answer, columns=columns)
        ids = tuple(range(tokens))
        return Rollout(Prompt(example, (1, 2)), ids, (True,) * tokens, (-0.1,) * tokens, text, finished=True, version=0)

    return make
