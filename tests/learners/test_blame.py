"""Which error says that another process is gone, and which one says what is wrong here."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from groupwise.errors import UserError
from groupwise.learners.blame import of_transport
from groupwise.learners.hidden_states import _gap

RESET = "[pair.cc:537] Read error [127.0.0.1]:44766: Connection reset by peer. This is typically caused by gloo"


def wrapped(cause: BaseException) -> UserError:
    try:
        raise UserError("the model does not go forward") from cause
    except UserError as error:
        return error


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError(RESET), True),
        (RuntimeError("NCCL error: unhandled system error"), True),
        (BrokenPipeError(32, "Broken pipe"), True),
        (EOFError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("connection"), False),
        (UserError("connection refused"), False),
        (wrapped(RuntimeError(RESET)), True),
        (wrapped(wrapped(RuntimeError(RESET))), True),
        (wrapped(ValueError("rope")), False),
    ],
)
def test_what_tells_that_another_one_is_gone(error: BaseException, lost: bool) -> None:
    assert of_transport(error) is lost


def test_a_process_lost_while_a_model_is_probed_is_no_fault_of_its_settings() -> None:
    class Trunk:
        def __init__(self, error: BaseException) -> None:
            self.error = error

        def get_input_embeddings(self) -> Any:
            return SimpleNamespace(weight=torch.zeros(40, 2))

        def __call__(self, **_: Any) -> Any:
            raise self.error

    with pytest.raises(RuntimeError, match="Connection reset by peer"):
        _gap(None, Trunk(RuntimeError(RESET)))  # type: ignore[arg-type]
    with pytest.raises(UserError, match=r"Trunk does not go forward with its config\.json: size mismatch"):
        _gap(None, Trunk(RuntimeError("size mismatch")))  # type: ignore[arg-type]
