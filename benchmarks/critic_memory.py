"""What the critic costs in memory: GRPO and PPO for two steps on one model, each in a process of its own.

python benchmarks/critic_memory.py      # writes benchmarks/critic_memory.json; under a minute on two cores
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import groupwise as gw
from groupwise import recipes
from groupwise.learners.device import machine
from groupwise.tasks import stepwise

ROOT = Path(__file__).resolve().parents[1]
MODEL = gw.NewModel(hidden_size=512, layers=6, heads=8, intermediate_size=2048, context_tokens=128)
METHODS = {"grpo": recipes.grpo, "ppo": recipes.ppo}


def peak(method: str) -> dict[str, float]:
    """Resident memory of this process at its highest, in MB (10^6 bytes), and the policy's parameters."""
    algorithm = METHODS[method]
    group = min(4, algorithm.source.group_size)
    source = replace(algorithm.source, group_size=group, max_completion_tokens=16)
    stage = gw.Stage(method, replace(algorithm, source=source), stepwise(1), steps=2, prompts_per_step=16 // group)
    with tempfile.TemporaryDirectory() as place:
        run = gw.Run("memory", MODEL, (stage,), evaluation=gw.HeldOut(problems=0, sampled_problems=0))
        outcome = gw.run(run, Path(place) / "run", sinks=[])
        size = sum(file.stat().st_size for file in outcome.model.glob("*.safetensors"))
    return {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6, "parameters": size / 4}


def _output(command: list[str]) -> str:
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    if len(sys.argv) > 1:
        print(json.dumps(peak(sys.argv[1])))
        return
    found = {method: json.loads(_output([sys.executable, __file__, method]).splitlines()[-1]) for method in METHODS}
    print(json.dumps(found))
    (ROOT / "benchmarks" / "critic_memory.json").write_text(
        json.dumps({"machine": machine(), **found}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
