"""A learner's state comes back as it was, and nothing in its files is ever run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

from groupwise.storage.tensors import STATE, TENSORS, bytes_of, load_progress, load_state, save_progress, save_state

plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(
    plain,
    lambda inner: (
        st.lists(inner)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(), inner)
        | st.dictionaries(st.integers(), inner)
    ),
)


@settings(max_examples=25)
@given(nested)
def test_plain_values_come_back(tmp_path_factory: pytest.TempPathFactory, value: object) -> None:
    directory = tmp_path_factory.mktemp("state")
    save_state(directory, {"value": value})
    save_progress(directory, {"step": 2, "cursor": 64})
    found = load_state(directory)
    assert found == {"value": value}
    assert type(found["value"]) is type(value)
    assert load_progress(directory) == {"step": 2, "cursor": 64}
    if isinstance(value, dict):
        assert list(found["value"]) == list(value)


def test_tensors_come_back_in_every_type(tmp_path: Path) -> None:
    kinds = (torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.uint8, torch.int64, torch.bool)
    each = {str(kind): torch.tensor([[1, 0], [0, 1]]).to(kind) for kind in kinds}
    state = {"state": {0: each}, "step": torch.tensor(3.0)}
    save_state(tmp_path, state)
    found = load_state(tmp_path)
    for kind in kinds:
        assert torch.equal(found["state"][0][str(kind)], each[str(kind)])
    assert found["step"].shape == ()


def test_a_tensor_in_two_places_is_kept_once(tmp_path: Path) -> None:
    weight, whole = torch.randn(4, 4), torch.arange(10.0)
    state = {"embed": weight, "head": weight, "turned": weight.t(), "part": whole[2:5], "whole": whole}
    save_state(tmp_path, state)
    found = load_state(tmp_path)
    assert all(torch.equal(found[name], state[name]) for name in state)
    assert found["embed"] is found["head"]
    assert bytes_of({"a": weight, "b": [weight]}) == 64


def test_what_is_no_plain_value_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"state\.odd\.1 is a object"):
        save_state(tmp_path, {"odd": [1, object()]})


class Harm:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('run')",))


def test_nothing_in_a_state_file_is_run(tmp_path: Path) -> None:
    """A pickle in its place is no state."""
    save_state(tmp_path, {"a": torch.zeros(1)})
    torch.save({"x": Harm()}, tmp_path / TENSORS)
    with pytest.raises(SafetensorError):
        load_state(tmp_path)
    save_state(tmp_path, {})
    torch.save({"x": Harm()}, tmp_path / STATE)
    with pytest.raises((json.JSONDecodeError, UnicodeDecodeError)):
        load_state(tmp_path)
