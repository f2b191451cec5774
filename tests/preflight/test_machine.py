"""``groupwise doctor machine``: what is said, and that every lack is named with what it costs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from groupwise.cli import main
from groupwise.errors import UserError
from groupwise.preflight import machine


def said(name: str) -> Any:
    return next(fact for fact in machine.facts() if fact.name == name)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "SIZE", 16)
    monkeypatch.setattr(machine, "library", lambda name: object())


def test_the_command_says_what_a_report_of_a_fault_needs(capsys: Any) -> None:
    assert main(["doctor", "machine"]) == 0
    text = capsys.readouterr().out
    for word in (
        "groupwise",
        "torch",
        "instructions",
        "compiler",
        "kernels of training",
        "isolation",
        "GPU",
        "GFLOP/s",
    ):
        assert word in text
    assert main(["doctor", "machine", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert {"name", "words", "slower"} == set(facts[0])
    assert main(["doctor", "run"]) == 2


def test_kernels_that_cannot_be_made_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "library", lambda name: "no C++ compiler found")
    monkeypatch.setenv("CXX", "")
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    assert "plain torch" in said("kernels of sampling").slower
    assert "apt install" in said("compiler").slower


def test_a_machine_without_vectors_or_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_flags", set)
    assert "a number at a time" in said("instructions").slower
    monkeypatch.setattr(machine, "_flags", lambda: {"avx2", "fma"})
    assert "float32 is faster" in said("instructions").slower
    monkeypatch.setattr(machine, "_flags", lambda: {"asimd", "bf16"})
    assert said("instructions").slower == ""


def test_walls_that_do_not_hold_are_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses() -> None:
        raise UserError("nothing here gives them: Landlock: the kernel has none")

    monkeypatch.setattr(machine, "walls", refuses)
    assert "Landlock" in said("isolation").slower


def test_fewer_threads_and_cores_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "available_threads", lambda count: 1)
    monkeypatch.setattr(machine, "_quota", lambda: 0.5)
    assert "ulimit" in said("threads").slower
    assert "may use 0.5 of" in said("processor").slower


def test_a_compiler_with_options_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "false --strange")
    assert "cannot be asked" in said("compiler").words
    monkeypatch.setenv("PASSWORD_OF_MINE", "x" * 20)
    monkeypatch.setenv("OMP_NUM_THREADS", "x" * 20)
    assert "x" * 20 not in said("environment").words
