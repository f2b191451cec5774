"""What was printed is written out while an error of it can still be told."""

from __future__ import annotations

import sys

import pytest

from groupwise.output.standard import abandon, write_out


def test_output_that_cannot_be_written_is_an_error_once(monkeypatch: pytest.MonkeyPatch) -> None:
    full = open("/dev/full", "w")  # noqa: SIM115 - it is closed below, which is what is tested
    monkeypatch.setattr(sys, "stdout", full)
    print("x")
    with pytest.raises(OSError, match="No space left"):
        write_out()
    abandon()
    write_out()
    full.close()


def test_no_output_at_all_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    write_out()
    abandon()
