"""Runs what README.md shows and puts what was really printed into it; makes its tables from files and code.

.venv/bin/python tools/docs/readme.py            # commands, Python and tables; needs runs/quickstart
.venv/bin/python tools/docs/readme.py --all      # first make quickstart --fresh and make test too
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
README = ROOT / "README.md"
HEAD, TAIL = 14, 12  # lines kept of a long output
CONSOLE = re.compile(r"```console\n\$ (?P<command>[^\n]*)\n.*?```", re.DOTALL)
PYTHON = re.compile(r"```python\n(?P<code>.*?)```\n\n```text\n.*?```", re.DOTALL)


def main() -> None:
    """Rewrites README.md in place."""
    text = README.read_text()
    if "--quickstart" in sys.argv:
        text = section(text, "quickstart", fenced(shown("groupwise run examples/quickstart.py --fresh")))
    if "--test" in sys.argv:
        text = section(text, "test", fenced("...\n" + "\n".join(printed("make test").splitlines()[-3:])))
    for left in ("mine", "grpo-sums"):
        shutil.rmtree(ROOT / "runs" / left, ignore_errors=True)
    text = CONSOLE.sub(lambda m: f"```console\n$ {m['command']}\n{shown(m['command'])}\n```", text)
    text = PYTHON.sub(lambda m: f"```python\n{m['code']}```\n\n```text\n{python(m['code'])}\n```", text)
    text = section(text, "seeds", seeds())
    text = section(text, "methods", methods())
    README.write_text(text)


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


def methods() -> str:
    lines = printed("groupwise methods").splitlines()
    rows = [line.split(maxsplit=1) for line in lines]
    linked = [f"| [`{name}`](docs/methods/{name}.md) | {about} |" for name, about in rows]
    return "\n".join(["| method | |", "|---|---|", *linked])


if __name__ == "__main__":
    main()
