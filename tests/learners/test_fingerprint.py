"""A few letters say what code and what weights a process has."""

from __future__ import annotations

from pathlib import Path

import torch

from groupwise.learners.fingerprint import BLOCK, BLOCKS, code_fingerprint, different, model_fingerprint


def test_a_file_that_differs_anywhere_in_what_is_read_is_named(tiny_model: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in tiny_model.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    expected = model_fingerprint(tiny_model)
    assert {"config.json", "model.safetensors"} <= expected.keys()
    assert model_fingerprint(copy) == expected
    weights = copy / "model.safetensors"
    whole = weights.read_bytes()
    for place in (0, len(whole) // 2, len(whole) - 1):
        weights.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert different(expected, model_fingerprint(copy)) == ["model.safetensors"]
    (copy / "generation_config.json").unlink()
    weights.write_bytes(whole)
    assert different(expected, model_fingerprint(copy)) == ["generation_config.json"]


def test_of_a_large_file_its_ends_and_its_length_are_read(tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes((tiny_model / "config.json").read_bytes())
    weights = tmp_path / "model.safetensors"
    whole = bytearray(2 * BLOCK * BLOCKS)
    weights.write_bytes(whole)
    before = model_fingerprint(tmp_path)
    for changed in (b"\1" + whole[1:], whole[:-1] + b"\1", whole + b"\0"):
        weights.write_bytes(changed)
        assert different(before, model_fingerprint(tmp_path)) == ["model.safetensors"]


def test_code_is_its_source_and_its_libraries() -> None:
    found = code_fingerprint()
    assert found["torch"] == torch.__version__
    assert len(found["groupwise"]) == 12
    assert different(found, {**found, "torch": "1.0"}) == ["torch"]
    assert different(found, dict(found)) == []
