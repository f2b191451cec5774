"""Fuzzing: every target of targets.py, guided by coverage, until 100,000 inputs have been tried.

    python benchmarks/faults/fuzz.py [runs]

libFuzzer guides it through atheris (``pip install atheris``), in a process for each target; where that is not there,
the same seeds and words are mutated at random, and the result says so.
"""

from __future__ import annotations

import importlib.util
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

RUNS = 100_000
LONGEST_SECONDS = 10  # of one input
MOST_SECONDS = 1200  # of one target
MOST_BYTES = 2000
SEED = 1

GUIDED = """
import sys
import atheris
with atheris.instrument_imports(include=["groupwise"]):
    sys.path.insert(0, sys.argv.pop(1))
    import targets
target = targets.TARGETS[sys.argv.pop(1)].run
atheris.Setup(sys.argv, target)
atheris.Fuzz()
"""


def run(runs: int = RUNS) -> dict[str, Any]:
    """Inputs in all; by target, with seconds; ``lost``: the targets that crashed or hung."""
    names = ("data readers", "answer extraction", "case reader")
    guided = importlib.util.find_spec("atheris") is not None
    with ThreadPoolExecutor(len(names)) as pool:  # of processes where it is guided
        found = dict(zip(names, pool.map(partial(_guided if guided else _mutated, runs=runs), names), strict=True))
    lost = [f"{name}: {count} crashes or hangs" for name in names if (count := found[name]["crashes_and_hangs"])]
    return {"inputs": sum(one["inputs"] for one in found.values()), "by_target": found, "lost": lost}


def _guided(name: str, runs: int) -> dict[str, Any]:
    here = Path(__file__).parent
    sys.path.insert(0, str(here))
    import targets

    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(targets.TARGETS[name].seeds):
            Path(corpus, f"seed{number}").write_bytes(seed)
        words = Path(corpus).with_suffix(".words")
        words.write_text("".join(f"{_quoted(word)}\n" for word in targets.TARGETS[name].words))
        options = [f"-runs={runs}", f"-timeout={LONGEST_SECONDS}", f"-max_len={MOST_BYTES}", f"-seed={SEED}"]
        options += [f"-dict={words}", "-print_final_stats=1", "-rss_limit_mb=4096", f"-artifact_prefix={corpus}/found-"]
        command = [sys.executable, "-c", GUIDED, str(here), name, *options, corpus]
        started = time.perf_counter()
        try:
            done = subprocess.run(command, capture_output=True, timeout=MOST_SECONDS, check=False)
            said, code = done.stderr.decode("utf-8", "replace"), done.returncode
        except subprocess.TimeoutExpired as late:
            said, code = (late.stderr or b"").decode("utf-8", "replace"), -1
        words.unlink()
        shutil.rmtree(targets.SCRATCH, ignore_errors=True)
        targets.SCRATCH.mkdir(exist_ok=True)
        found = [path.read_bytes().hex()[:400] for path in Path(corpus).glob("found-*")]
    tried = re.search(r"number_of_executed_units: (\d+)", said)
    coverage = re.findall(r"cov: (\d+)", said)
    return {
        "engine": "libFuzzer through atheris, guided by coverage",
        "inputs": int(tried[1]) if tried else 0,
        "covered": int(coverage[-1]) if coverage else 0,
        "seconds": round(time.perf_counter() - started, 1),
        "crashes_and_hangs": len(found) or int(code != 0),
        **({"found": found, "said": said[-3000:]} if code or found else {}),
    }


def _mutated(name: str, runs: int) -> dict[str, Any]:
    sys.path.insert(0, str(Path(__file__).parent))
    import targets

    target, draw, started = targets.TARGETS[name], random.Random(SEED), time.perf_counter()
    slowest, found = 0.0, []
    for _ in range(runs):
        data, begun = mutated(target, draw), time.perf_counter()
        try:
            target.run(data)
        except Exception as error:  # whatever it is, it is a finding
            found.append(f"{type(error).__name__}: {error}: {data.hex()[:400]}")
        slowest = max(slowest, time.perf_counter() - begun)
    return {
        "engine": "random mutations of seeds",
        "inputs": runs,
        "seconds": round(time.perf_counter() - started, 1),
        "slowest_seconds": round(slowest, 3),
        "crashes_and_hangs": len(found),
        **({"found": found[:10]} if found else {}),
    }


def mutated(target: Any, draw: random.Random) -> bytes:
    """A seed with up to eight changes: bytes, words, numbers, repetitions, cuts, pieces of another seed."""
    data = bytearray(draw.choice(target.seeds))
    for _ in range(draw.randint(1, 8)):
        place, size = draw.randint(0, len(data)), draw.randint(0, 12)
        piece = bytes(data[place : place + size])
        match draw.randrange(6):
            case 0:
                data[place : place + 1] = bytes([draw.randrange(256)])
            case 1:
                data[place:place] = draw.choice(target.words).encode("utf-8", "surrogatepass")
            case 2:
                data[place : place + size] = str(draw.choice((0, -1, 1e308, 2**64, 0.1))).encode()
            case 3:
                data[place:place] = piece * draw.choice((1, 2, 50))
            case 4:
                del data[place : place + size]
            case _:
                other = draw.choice(target.seeds)
                data[place:] = other[draw.randrange(len(other)) :]
    return bytes(data[:MOST_BYTES])


def _quoted(word: str) -> str:
    letters = (chr(byte) if 32 < byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in word.encode())
    return f'"{"".join(letters)}"'


if __name__ == "__main__":
    import json

    print(json.dumps(run(int(sys.argv[1]) if len(sys.argv) > 1 else RUNS), indent=1))
