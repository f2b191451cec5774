"""What is said where the terminal's encoding lacks letters."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from rich.console import Console

from groupwise.cli import main
from groupwise.output import encoding
from groupwise.output.encoding import SPELLED, write_any_letter
from groupwise.sinks.console import Terminal

KINDS = ("ascii", "cp1252", "cp437", "latin-1", "koi8-r")
SOURCE = Path(encoding.__file__).parents[1]


def stream(kind: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(), encoding=kind, write_through=True)


def said(by: io.TextIOWrapper) -> str:
    return by.buffer.getvalue().decode(by.encoding)  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize("kind", KINDS)
def test_any_letter_can_be_written(kind: str) -> None:
    """The letters of our own formulas read as words; those of others as numbers."""
    to = stream(kind)
    write_any_letter(to)
    to.write("π_θ/π_old ≥ 0.8 → " + "".join(map(chr, range(0x20, 0x3000))) + "你 😀")
    assert "theta/" in said(to) or kind == "cp437"
    assert said(to).endswith("\\u4f60 \\U0001f600")


def test_utf_8_stays_as_it_is() -> None:
    to = stream("utf-8")
    write_any_letter(to, io.StringIO())
    assert to.errors == "strict"
    assert to.write("Σ") == 1
    assert said(to) == "Σ"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("words", [("explain", "grpo"), ("explain", "ppo"), ("methods",), ("--help",)])
def test_commands_end_well(kind: str, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    to = stream(kind)
    monkeypatch.setattr(sys, "stdout", to)
    monkeypatch.setattr(sys, "stderr", to)
    assert main(words) == 0
    assert len(said(to)) > 100
    assert "\\u" not in said(to)


def test_a_run_goes_on_whatever_its_model_says() -> None:
    """A run that Python starts, not the command line, has the same terminal."""
    to = stream("ascii")
    terminal = Terminal("run", Console(file=to, highlight=False))
    terminal.note("a completion of 你好 …")
    assert "\\u4f60\\u597d ..." in said(to)


def test_every_letter_that_is_spelled_is_one_that_ascii_lacks() -> None:
    for letter, words in SPELLED.items():
        assert (len(letter), letter.isascii(), words.isascii()) == (1, False, True)
