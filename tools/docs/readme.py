"""This script runs what the first pages show and puts what was really printed into them; it makes the README's table.

.venv/bin/python tools/docs/readme.py                # commands, Python and the table; needs runs/quickstart
.venv/bin/python tools/docs/readme.py --quickstart   # first make quickstart --fresh, too
.venv/bin/python tools/docs/readme.py --test         # make test, too
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README, TESTING = ROOT / "README.md", ROOT / "CONTRIBUTING.md"
PAGES = tuple(ROOT / "docs" / f"{name}.md" for name in ("quickstart", "evaluating", "explaining"))
"""Pages that show what commands print, in the order in which one needs what another left."""
HEAD, TAIL = 14, 12  # lines kept of a long output
CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]*)\n.*?```", re.DOTALL)
PYTHON = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n.*?```", re.DOTALL)


def main() -> None:
    """Rewrites the pages in place."""
    if "--quickstart" in sys.argv:
        quickstart = fenced(shown("groupwise run examples/quickstart.py --fresh"))
        PAGES[0].write_text(section(PAGES[0].read_text(), "quickstart", quickstart))
    if "--test" in sys.argv:
        last = fenced("...\n" + "\n".join(printed("make test").splitlines()[-3:]))
        TESTING.write_text(section(TESTING.read_text(), "test", last))
    for left in ("mine", "grpo-sums"):
        shutil.rmtree(ROOT / "runs" / left, ignore_errors=True)
    for page in PAGES:
        text = CONSOLE.sub(lambda m: f"```console\n$ {m['command']}\n{shown(m['command'])}\n```", page.read_text())
        page.write_text(PYTHON.sub(lambda m: f"```python\n{m['code']}```\n\n```text\n{python(m['code'])}\n```", text))
    for page in (README, PAGES[0]):
        page.write_text(section(page.read_text(), "seeds", seeds()))


def section(text: str, name: str, content: str) -> str:
    """Replaces what stands between ``<!-- name -->`` and ``<!-- /name -->``."""
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    assert pattern.search(text), name
    return pattern.sub(lambda m: f"{m[1]}{content}\n{m[2]}", text)


def printed(command: str) -> str:
    """Standard output of a command run in the repository root, as someone would see it in a log."""
    path = f"{ROOT / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(command, shell=True, cwd=ROOT, env=environment, text=True, capture_output=True)
    assert done.returncode == 0, f"{command}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    return done.stdout.rstrip()


def shown(command: str) -> str:
    """Long outputs lose their middle."""
    lines, head = printed(command).splitlines(), 2 * HEAD if " explain " in command else HEAD
    if len(lines) > head + TAIL:
        lines = [*lines[:head], "...", *lines[-TAIL:]]
    return "\n".join(line.rstrip() for line in lines)


def python(code: str) -> str:
    script = ROOT / "runs" / "readme.py"
    script.write_text(code)
    return printed(f"python {script.relative_to(ROOT)}").splitlines()[-1]


def fenced(text: str) -> str:
    return f"```text\n{text}\n```"


def seeds() -> str:
    saved = json.loads((ROOT / "benchmarks" / "quickstart.json").read_text())

    def cell(measure: dict[str, float]) -> str:
        return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f})"

    rows = ["| seed | seconds | pass@1 after SFT | pass@1 after GRPO | maj@8 | pass@8 |", "|---|---|---|---|---|---|"]
    for seed in saved["seeds"]:
        sft, grpo = seed["sft"], seed["grpo"]
        both = [f"{sft[k]['value']:.3f} → {grpo[k]['value']:.3f}" for k in ("maj@8", "pass@8")]
        cells = [seed["seed"], f"{seed['seconds']:.0f}", cell(sft["pass@1"]), cell(grpo["pass@1"]), *both]
        rows.append(f"| {' | '.join(map(str, cells))} |")
    machine, versions = saved["machine"], saved["versions"]
    where = f"{machine['cores']} cores of {machine['cpu']}, torch {versions['torch']}"
    return "\n".join([*rows, "", f"Measured on {where}; 95 % intervals over problems."])


if __name__ == "__main__":
    main()
