"""This hook makes the site of the pages as they are: files of the repository that they name are laid beside them, and
formulas become MathML, which needs no script: those between dollars, and the objectives of the methods' pages."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from formulas import block, latex  # noqa: E402

LINK = re.compile(r"(\]\()((?:\.\./)+)([^)#\s]+)(#[^)\s]*)?\)")
CODE = re.compile(r"(```.*?^[ ]*```|`[^`\n]+`)", re.DOTALL | re.MULTILINE)
BLOCK = re.compile(r"\$\$(.+?)\$\$", re.DOTALL)
INLINE = re.compile(r"(?<![\\$\w])\$(?=\S)((?:[^$\n]|\n(?!\n))+?)(?<=\S)\$(?![\w$])")
OBJECTIVE = re.compile(r"(?<=\n## Objective\n).*?(?=\n## )", re.DOTALL)
"""Where the formulas of a method's page stand, in plain signs."""
PLAIN = re.compile(r"```text\n(.*?)```", re.DOTALL)
NAMED: set[str] = set()
"""Files outside of the pages' folder that a page names."""


def on_config(config: Any) -> Any:
    """Puts every method's page into the menu, in the order of their index."""
    index = (Path(config["docs_dir"]) / "methods" / "README.md").read_text(encoding="utf-8")
    names = list(dict.fromkeys(re.findall(r"^\* \[\w+\]\((\w+)\.md\)", index, re.MULTILINE)))
    for entry in config["nav"]:
        if "Methods" in entry:
            entry["Methods"] = ["methods/README.md", *({name: f"methods/{name}.md"} for name in names)]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Lays every file that a page names into the site, as text."""
    NAMED.clear()
    pages = Path(config["docs_dir"])
    for file in list(files):
        if not file.src_uri.endswith(".md"):
            continue
        text = (pages / file.src_uri).read_text(encoding="utf-8")
        for match in LINK.finditer(text):
            if target := _outside(pages, file.src_uri, match):
                NAMED.add(target)
    for name in sorted(NAMED):
        if (ROOT / name).is_file():
            content = (ROOT / name).read_bytes()
            files.append(File.generated(config, _laid(name), content=content))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Points links out of the folder at what was laid beside the pages, and draws formulas."""
    pages = Path(config["docs_dir"])

    def pointed(match: re.Match[str]) -> str:
        target = _outside(pages, page.file.src_uri, match)
        if target is None:
            return match[0]
        if (ROOT / target).is_dir():
            return "](" + "../" * page.file.src_uri.count("/") + "index.md)"
        if not (ROOT / target).is_file():
            raise PluginError(f"{page.file.src_uri}: names {target}, which is not there")
        return f"]({'../' * page.file.src_uri.count('/')}{_laid(target)})"

    markdown = LINK.sub(pointed, markdown)
    if page.file.src_uri.startswith("methods/"):
        markdown = markdown.replace("| row of the table |  |", "| row of the table | of this method |")
        markdown = OBJECTIVE.sub(lambda match: PLAIN.sub(_written, match[0]), markdown)
    parts = CODE.split(markdown)
    return "".join(part.replace("\\|", "|") if at % 2 else _drawn(part) for at, part in enumerate(parts))


def _outside(pages: Path, page: str, match: re.Match[str]) -> str | None:
    """The file that a link means, from the repository's root; None where it is one of the pages."""
    target = ((pages / page).parent / match[2] / match[3]).resolve()
    if target.is_relative_to(pages.resolve()):
        return None
    if not target.is_relative_to(ROOT):
        raise PluginError(f"{page}: names {match[2]}{match[3]}, which is outside of the repository")
    return target.relative_to(ROOT).as_posix()


def _laid(name: str) -> str:
    """Where it lies in the site: a page of Markdown would be drawn, and code be run, under its own ending."""
    return f"repository/{name}.txt"


def _written(match: re.Match[str]) -> str:
    """A block of plain signs, a line a formula; what defines a sign stands further in."""
    lines = (_formula(latex(line), "formula" if first else "formula given") for first, line in block(match[1]))
    return "\n" + "\n".join(lines) + "\n"


def _formula(text: str, kind: str) -> str:
    """On a line of its own; it can be reached by keyboard, since a narrow screen scrolls it."""
    return f'<div class="{kind}" tabindex="0" role="group">{convert(text, display="block")}</div>'


def _drawn(text: str) -> str:
    """Formulas between dollars; and a tilde that is escaped for GitHub, where two of them strike out."""
    text = BLOCK.sub(lambda match: "\n" + _formula(match[1].strip(), "formula alone") + "\n", text)
    text = INLINE.sub(lambda match: f"<span>{convert(match[1].replace(chr(10), ' '))}</span>", text)
    return text.replace("\\~", "~")
