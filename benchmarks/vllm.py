"""A real vLLM server under a stage of GRPO: how far it and the learner are apart after each update of the weights, what
an exchange of weights takes, and whose tokens are whose when weights come in the middle of completions.

    python benchmarks/vllm.py MODEL --python vllm-env/bin/python     (starts a server and ends it)
    python benchmarks/vllm.py MODEL --url http://127.0.0.1:8000      (one that is there)

The numbers go into benchmarks/vllm.json.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from groupwise import HeldOut, Local, OnPolicy, Run, Stage, VLLMServers, recipes, run, tasks
from groupwise.algorithm import KL
from groupwise.engines.vllm_client import Address, Client
from groupwise.types import Completion, CompletionEvent, Request, Sampling

HERE = Path(__file__).parent
STEPS, PROMPTS, GROUP = 4, 8, 8
LONG = 200


def main() -> None:
    known = argparse.ArgumentParser(description=__doc__)
    known.add_argument("model")
    known.add_argument("--python", help="of an environment with vLLM")
    known.add_argument("--url", help="of a server that is there")
    known.add_argument("--out", type=Path, default=HERE / "vllm.json")
    chosen = known.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(chosen, Path(folder)) as (url, seconds):
        measured = {"start_seconds": seconds, "vllm": version(url), "torch": torch.__version__}
        measured |= stage(chosen.model, url, Path(folder)) | in_flight(chosen.model, url, Path(folder))
    chosen.out.write_text(json.dumps(measured, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(measured, indent=1))


@contextmanager
def server(chosen: argparse.Namespace, folder: Path) -> Iterator[tuple[str, float | None]]:
    """Gives the URL of a server, and how long its start took."""
    if chosen.url:
        yield chosen.url, None
        return
    began = time.perf_counter()
    command = [sys.executable, "-m", "groupwise.cli", "serve", chosen.model, "--vllm", "--python", chosen.python]
    command += ["--port", "0", "--dtype", "float32", "--context", "512", "--log", str(folder / "vllm.log")]
    command += [] if torch.cuda.is_available() else ["--cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip()
            if not url:
                raise SystemExit("no server began")
            yield url, round(time.perf_counter() - began, 1)
        finally:
            process.terminate()


def version(url: str) -> str:
    return str(Client(Address.of(url), 10.0).get("/version")["version"])


def stage(model: str, url: str, folder: Path) -> dict[str, Any]:
    """Trains a few steps on what the server samples."""
    task = tasks.stepwise(level=1, held_out_size=20)
    grpo = replace(recipes.grpo, source=OnPolicy(group_size=GROUP, max_completion_tokens=48), kl=KL(0.04))
    steps = Stage("grpo", grpo, task, steps=STEPS, prompts_per_step=PROMPTS, minibatches=2, learning_rate=1e-3)
    engine = VLLMServers((url,), weights=str(folder / "weights"))
    none = HeldOut(problems=0, sampled_problems=0)
    recipe = Run("vllm", model, (steps,), evaluation=none, learner=Local(threads=1), engine=engine)
    out, began = folder / "run", time.perf_counter()
    run(recipe, out=out, sinks=[])
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    return {
        "steps": STEPS,
        "completions_a_step": PROMPTS * GROUP,
        "engine_learner_gap": [row["engine_learner_gap"] for row in rows],
        "reward": [row["reward"] for row in rows],
        "stage_seconds": round(time.perf_counter() - began, 1),
    }


def in_flight(model: str, url: str, folder: Path) -> dict[str, Any]:
    """Gives new weights in the middle of completions, and scores each token by the weights that drew it."""
    old = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
    new = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for tensor in new.parameters():
        tensor.mul_(1 + 0.02 * torch.rand(tensor.shape, generator=generator))
    live = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval().requires_grad_(False)
    config = VLLMServers((url,), weights=str(folder / "weights"), in_flight="keep")
    engine = config.open(model, live, AutoTokenizer.from_pretrained(model))
    engine.load(live.named_parameters(), 1)
    seconds = list[float]()

    def update() -> None:
        time.sleep(0.5)
        live.load_state_dict(new.state_dict())
        began = time.perf_counter()
        engine.load(live.named_parameters(), 2)
        seconds.append(time.perf_counter() - began)

    thread = threading.Thread(target=update)
    stream, prompt = engine.stream(Sampling(LONG)), tuple(range(5, 25))
    thread.start()
    stream.submit(Request(prompt, tuple(range(8))))
    found = [event.completion for event in stream.events() if isinstance(event, CompletionEvent)]
    thread.join()
    gaps = {1: [0.0], 2: [0.0]}
    for completion in found:
        for each, scored in ((1, logprobs(old, prompt, completion)), (2, logprobs(new, prompt, completion))):
            start = 0
            for drawn_by, end in completion.spans:
                if drawn_by == each:
                    pairs = zip(completion.logprobs[start:end], scored[start:end], strict=True)
                    gaps[each] += [abs(a - b) for a, b in pairs]
                start = end
    return {
        "in_flight_spans": [list(map(list, completion.spans)) for completion in found],
        "in_flight_gap_before": max(gaps[1]),
        "in_flight_gap_after": max(gaps[2]),
        "exchange_seconds": round(seconds[0], 3),
    }


@torch.inference_mode()
def logprobs(model: Any, prompt: tuple[int, ...], completion: Completion) -> list[float]:
    ids = torch.tensor([[*prompt, *completion.tokens]])
    said = model(ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    return [float(row[token]) for row, token in zip(said, completion.tokens, strict=True)]


if __name__ == "__main__":
    main()
