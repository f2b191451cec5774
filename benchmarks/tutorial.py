"""This script runs the commands of docs/tutorial.md, writes what came of them to benchmarks/tutorial.json, and puts the
numbers and the picture into the page.

    python benchmarks/tutorial.py                # all, some minutes; needs runs/quickstart (make quickstart)
    python benchmarks/tutorial.py grpo gspo      # these runs alone; the others stay as they are
    python benchmarks/tutorial.py --page         # the page alone, from the file
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULT, PICTURE = (
    ROOT / "docs" / "tutorial.md",
    ROOT / "benchmarks" / "tutorial.json",
    ROOT / "docs" / "tutorial.svg",
)
COMMAND = re.compile(r"^\$ groupwise (run .*?--out runs/tutorial/(\S+).*)$", re.MULTILINE)
SHOWN = (("ppo", "grpo"), ("grpo-minibatches", "gspo"))
"""Runs whose rewards the picture has, panel by panel."""
COLOURS = {"ppo": "#e5534b", "grpo": "#3b82f6", "grpo-minibatches": "#3b82f6", "gspo": "#3fa45b"}
BUSY = 3.0
"""A load from which on seconds are those of other work, too, and are left out."""
ENDS = 3  # steps at either end over which a mean is taken


def main() -> int:
    """Runs what is asked for, and rewrites the page."""
    words = sys.argv[1:]
    if words != ["--page"]:
        for command, name in COMMAND.findall(PAGE.read_text()):
            if not words or name in words:
                found = run(command, ROOT / "runs" / "tutorial" / name)
                result = kept()  # as it is by now
                result["runs"][name] = found
                result |= described()
                RESULT.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    result = kept()
    PAGE.write_text(filled(PAGE.read_text(), result["runs"]), encoding="utf-8")
    PICTURE.write_text(picture(result["runs"]), encoding="utf-8")
    print(f"wrote {RESULT}, {PAGE} and {PICTURE}")
    return 0


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {"runs": {}}
    return found


def described() -> dict[str, Any]:
    """The machine and packages, as a run's own file has them."""
    newest = max((ROOT / "runs" / "tutorial").glob("*/run.json"), key=lambda path: path.stat().st_mtime)
    kept = json.loads(newest.read_text())
    return {"command": "python benchmarks/tutorial.py", "machine": kept["machine"], "versions": kept["versions"]}


def run(command: str, directory: Path) -> dict[str, Any]:
    """One command in a process of its own; the most memory that it held is the kernel's count."""
    began = time.monotonic()
    environment = {**os.environ, "NO_COLOR": "1"}
    child = subprocess.Popen(
        [sys.executable, "-m", "groupwise.cli", *shlex.split(command), "--fresh"],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"groupwise {command}: ended with {status}")
    took = {"command": command, "seconds": round(time.monotonic() - began, 1), "load": round(os.getloadavg()[0], 1)}
    return took | measured(directory, used.ru_maxrss)


def measured(directory: Path, kilobytes: int) -> dict[str, Any]:
    """What the files of a run say."""
    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    stage = rows[-1]["stage"]
    rows = [row for row in rows if row["stage"] == stage]
    times = [json.loads(line) for line in (directory / "times.jsonl").read_text().splitlines()]
    evaluation = json.loads((directory / "evaluation.json").read_text())
    before, after = evaluation["models"][-2]["evaluation"], evaluation["models"][-1]["evaluation"]
    found = {
        "peak_megabytes": round(kilobytes / 1024),
        "seconds_learning": round(sum(row.get("seconds/train", 0.0) for row in times if row["stage"] == stage), 1),
        "seconds_sampling": round(sum(row.get("seconds/sample", 0.0) for row in times if row["stage"] == stage), 1),
        "tokens": rows[-1]["num_tokens"],
        "rewards": [round(row["reward"], 4) for row in rows],
        "before": interval(before["pass_at_1"]),
        "after": interval(after["pass_at_1"]),
        "difference": interval(evaluation["comparison"]["pass_at_1"]),
    }
    for name in ("kl", "clip_ratio/low_mean", "clip_ratio/high_mean", "value_loss", "entropy", "grad_norm"):
        if name in rows[-1]:
            found[name] = [round(row[name], 6) for row in rows if name in row]
    return found


def interval(measure: dict[str, float]) -> dict[str, float]:
    return {name: round(measure[name], 4) for name in ("value", "low", "high")}


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def said(run: dict[str, Any]) -> str:
    """The numbers of one run in a line."""
    first, last = mean(run["rewards"][:ENDS]), mean(run["rewards"][-ENDS:])
    gain = run["difference"]
    parts = [
        f"mean reward {first:.2f} in the first {ENDS} steps, {last:.2f} in the last {ENDS}",
        f"pass@1 on held-out problems {run['before']['value']:.3f} before, {run['after']['value']:.3f} after, "
        f"paired {gain['value']:+.3f} [{gain['low']:+.3f}, {gain['high']:+.3f}]",
    ]
    if "kl" in run:
        parts.append(f"KL to the reference {mean(run['kl'][-ENDS:]):.4f} nats a token at the end")
    if losses := run.get("value_loss"):
        parts.append(f"the critic's loss {mean(losses[:ENDS]):.3f} at first, {mean(losses[-ENDS:]):.3f} at the end")
    if held := [run[name] for name in ("clip_ratio/low_mean", "clip_ratio/high_mean") if name in run]:
        share = mean([sum(pair) for pair in zip(*held, strict=True)])
        if share:
            parts.append(f"{share:.2%} of the tokens held by a clip")
    seconds = f"{run['seconds']:.0f} seconds, " if run.get("load", 0.0) <= BUSY else ""
    parts.append(f"{seconds}{run['peak_megabytes']:,} MB")
    return "; ".join(parts) + "."


def filled(text: str, runs: dict[str, Any]) -> str:
    """The page with each run's line between its marks."""
    for name, row in runs.items():
        pattern = re.compile(rf"(<!-- {re.escape(name)} -->\n).*?(<!-- /{re.escape(name)} -->)", re.DOTALL)
        text = pattern.sub(lambda match, row=row: f"{match[1]}{wrapped('It gave: ' + said(row))}\n{match[2]}", text)
    return text


def wrapped(text: str) -> str:
    import textwrap

    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def picture(runs: dict[str, Any]) -> str:
    """Rewards over completions, each the mean of three steps."""
    sys.path.insert(0, str(ROOT / "tools" / "docs"))
    from method_svg import Curve, Panel
    from method_svg import picture as drawn

    panels = []
    for names in SHOWN:
        curves = []
        for name in names:
            if name in runs:
                rewards = runs[name]["rewards"]
                ys = [mean(rewards[max(0, at - 2) : at + 1]) for at in range(len(rewards))]
                short = name.removesuffix("-minibatches")
                curves.append(
                    Curve(short, [128.0 * (at + 1) for at in range(len(ys))], ys, COLOURS[name], [0] * len(ys))
                )
        if curves:
            title = "mean reward, " + (" and ".join(names) if "gspo" not in names else "4 updates a draw")
            panels.append(Panel(title, "completions sampled", curves))
    return drawn("tutorial", panels)


if __name__ == "__main__":
    raise SystemExit(main())
