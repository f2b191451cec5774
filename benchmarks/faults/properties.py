"""The property tests on examples that nobody has tried: other ones for every seed.

    python benchmarks/faults --only properties --seed 3

`make test` tries the same examples every time, so that it fails where something broke and not by chance; here they are
drawn at random, and more of them; tests marked ``search`` try more of their own. What fails stands in the result with
the input that hypothesis reduced it to: write it into the test as an ``@example``.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 900


def run(seed: int) -> dict[str, Any]:
    """How many property tests, the seed of their examples, and in ``lost`` those that failed and on what."""
    tests = {path: path.read_text() for path in sorted((ROOT / "tests").rglob("test_*.py"))}
    files = [path for path, text in tests.items() if "@given" in text or "mark.search" in text]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-m", "hypothesis or search", "-n", "2"]
    command += ["--tb=short", "--hypothesis-profile=search", f"--hypothesis-seed={seed}", *map(str, files)]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=MOST_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"properties": 0, "seed": seed, "lost": [f"not done after {MOST_SECONDS} s"]}
    passed = re.search(r"(\d+) passed", done.stdout)
    failed = re.findall(r"^FAILED (\S+)", done.stdout, re.MULTILINE)
    examples = re.findall(r"^E +Falsifying example: (.*?)^E +\)", done.stdout, re.MULTILINE | re.DOTALL)
    lost = [f"{name}: {' '.join(found.split())}" for name, found in zip(failed, examples, strict=False)]
    lost += failed[len(lost) :]
    if done.returncode not in (0, 1) or not (passed or failed):
        lost.append(f"pytest ended with {done.returncode}: {(done.stderr or done.stdout)[-300:]}")
    return {"properties": len(failed) + int(passed[1] if passed else 0), "seed": seed, "lost": lost}
