"""In which dtype files hold a model, where each process may convert its own part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from groupwise.learners.stored_dtype import computes_in, narrower_dtype

HALF, WHOLE = torch.zeros(2, dtype=torch.bfloat16), torch.zeros(2)


@pytest.mark.parametrize(
    ("files", "dtype", "expected"),
    [
        ([{"a": HALF}], "float32", "bfloat16"),
        ([{"a": HALF}, {"b": HALF}], "float64", "bfloat16"),
        ([{"a": HALF.half()}], "float32", "float16"),
        ([{"a": WHOLE}], "float64", "float32"),
        ([{"a": WHOLE}], "float32", ""),
        ([{"a": WHOLE}], "bfloat16", ""),
        ([{"a": HALF.half()}], "bfloat16", ""),
        ([{"a": HALF}, {"b": WHOLE}], "float32", ""),
        ([{"a": HALF.to(torch.float8_e4m3fn)}], "float32", ""),
        ([{"a": HALF, "n": torch.zeros(1, dtype=torch.int64)}], "float32", ""),
        ([], "float32", ""),
    ],
)
def test_a_dtype_is_kept_where_another_holds_all_its_numbers(
    files: list[dict[str, torch.Tensor]], dtype: str, expected: str, tmp_path: Path
) -> None:
    for number, tensors in enumerate(files):
        save_file(tensors, tmp_path / f"model-{number}.safetensors")
    assert narrower_dtype(tmp_path, dtype) == expected


@pytest.mark.parametrize("content", [b"", b"\xff" * 16, b"\x04" + b"\0" * 7 + b"nope", b"\x02" + b"\0" * 7 + b"[]"])
def test_what_is_no_file_of_tensors_has_no_dtype(content: bytes, tmp_path: Path) -> None:
    """It is refused where it is opened."""
    (tmp_path / "model.safetensors").write_bytes(content)
    assert narrower_dtype(tmp_path, "float32") == ""
    assert narrower_dtype(tmp_path / "none", "float32") == ""


def test_a_model_that_made_numbers_of_its_own_in_a_dtype_is_told_from_one_that_read_them() -> None:
    model = nn.Linear(2, 2)
    model.register_buffer("read", HALF)
    assert not computes_in(model, torch.bfloat16)
    model.register_buffer("made", HALF.clone(), persistent=False)
    assert computes_in(model, torch.bfloat16)
    assert not computes_in(model, torch.float32)
