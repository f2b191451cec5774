"""Every command that a page shows is there: its name, the method or file it is given, and its options."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from groupwise.cli import COMMANDS, main

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))
SHOWN = re.compile(
    r"^(?:    |\$ )((?:groupwise|make|python) [^\n]*)$|`((?:groupwise|make|python) [^`\n]+)`", re.MULTILINE
)
FENCED = re.compile(r"^```(?:console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)
METHODS = {path.stem for path in (ROOT / "src" / "groupwise" / "recipes").glob("[a-z]*.py")}
TARGETS = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
OTHERS = {"chat", "h", "help_all", "help"}
"""Options that stand for more than one, ``--chat.NAME``."""


def shown(page: Path) -> list[list[str]]:
    """The words of each command, without comments, as far as the first sign of a shell."""
    text = page.read_text(encoding="utf-8")
    lines = [one or two for one, two in SHOWN.findall(text)]
    lines += [line.removeprefix("$ ") for block in FENCED.findall(text) for line in block.splitlines()]
    commands = [re.split(r"\s+#|\s[|&>;]|&&", line)[0].split() for line in lines]
    return [words for words in commands if len(words) > 1 and words[0] in ("groupwise", "make", "python")]


def options_of(*words: str) -> str:
    """What the help of a command says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        main([*words, "--help"])
    return said.getvalue()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_commands_of_a_page_are_there(page: Path) -> None:
    for words in shown(page):
        program, what, *rest = words
        said = " ".join(words)
        if program == "make":
            assert what in TARGETS or "=" in what, said
        elif program == "python":
            assert what.startswith("-") or not what.startswith(("benchmarks/", "tools/")) or (ROOT / what).exists(), (
                said
            )
        elif re.fullmatch(r"[a-z]+", what):
            assert what in COMMANDS, said
            if what in ("run", "explain") and rest and re.fullmatch(r"[a-z][a-z0-9_]+", rest[0]):
                assert rest[0] in METHODS | {"topr"}, said  # topr is the method that a page adds
            if what in ("run", "check") and rest and rest[0].startswith("examples/"):
                assert (ROOT / rest[0]).exists(), said


def test_enough_is_shown_to_be_looked_at() -> None:
    assert sum(len(shown(page)) for page in PAGES) > 150


READERS = ("audit", "chat", "compare", "evaluate", "export", "fetch", "list", "push", "report", "serve", "view")


@pytest.mark.parametrize("command", READERS)
def test_the_options_of_a_page_are_of_the_command(command: str) -> None:
    known = options_of(command) + (options_of(command, "--vllm") if command == "serve" else "")
    assert "usage" in known
    for page in PAGES:
        for words in shown(page):
            if words[:2] == ["groupwise", command]:
                for option in re.findall(r"(?<= )--([a-z_]+)", " ".join(words)):
                    assert option in OTHERS or f"--{option}" in known, f"{page.name}: {' '.join(words)}"
