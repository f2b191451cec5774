"""Lines that fit a terminal, broken between words."""

from __future__ import annotations

import sys
from contextlib import suppress

import pytest

from groupwise.cli import COMMANDS, main
from groupwise.output.columns import hanging, room


def test_lines_begin_below_each_other_where_there_is_room() -> None:
    assert hanging("  run  ", "one two three four", 16) == "  run  one two\n       three\n       four"
    assert hanging("a long head  ", "one two", 16) == "a long head\n    one two"
    assert hanging("x ", "unbreakable-word-of-many-letters", 10).split() == ["x", "unbreakable-word-of-many-letters"]


@pytest.mark.parametrize("columns", [60, 80, 200])
@pytest.mark.parametrize("words", [("--help",), ("methods",), ("methods", "--help"), ("list", "--help")])
def test_no_word_is_broken_by_a_terminal(
    words: tuple[str, ...], columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    with suppress(SystemExit):  # of argparse's help
        assert main(words) == 0
    said = capsys.readouterr().out
    examples = said.find("examples:")
    assert said
    assert max(map(len, said[: examples if examples > 0 else None].splitlines())) <= columns


def test_a_file_has_a_line_for_each_method(capsys: pytest.CaptureFixture[str]) -> None:
    from groupwise.commands.methods import names

    assert main(["methods"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == names()
    assert room(70) == 70
    assert main([]) == 0
    assert all(f"  {name} " in capsys.readouterr().out for name in list(COMMANDS)[:1])
