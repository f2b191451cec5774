"""This script measures what docs/questions.md says, and writes benchmarks/questions.json and the numbers into the page.

    python benchmarks/questions.py                       # all parts, some minutes; needs make quickstart
    python benchmarks/questions.py baseline kl           # these parts alone; the others stay as they are
    python benchmarks/questions.py --page                # the page alone, from the file

Parts: baseline, kl, scores, responses, equal. Runs lie in runs/questions.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULT = ROOT / "docs" / "questions.md", ROOT / "benchmarks" / "questions.json"
RUNS, MODEL = ROOT / "runs" / "questions", "runs/quickstart/models/sft"
OPTIONS = ["--options", "examples/tutorial.toml"]
FEW = ["--evaluate_first", "False", "--evaluation.problems", "20", "--evaluation.sampled_problems", "0"]
SEEDS, TARGET, SMOOTH, LONGEST = (0, 1, 2), 0.8, 3, 40


def main() -> int:
    """Measures the parts that are asked for, and rewrites the page."""
    words = sys.argv[1:]
    for name, part in PARTS.items():
        if words != ["--page"] and (not words or name in words):
            keep(name, part())
    from questions_page import filled

    PAGE.write_text(filled(PAGE.read_text(), kept()), encoding="utf-8")
    return 0


def kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    return found


def keep(name: str, part: dict[str, Any]) -> None:
    """Puts a part into the file as it is by now, with the machine that it was measured on."""
    record = json.loads(max(RUNS.glob("*/run.json"), key=os.path.getmtime).read_text())
    about = {key: record[key] for key in ("machine", "versions")} | {"command": "python benchmarks/questions.py"}
    RESULT.write_text(json.dumps(kept() | {name: part} | about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def run(method: str, name: str, *words: str, options: Sequence[str] = OPTIONS) -> dict[str, float]:
    """A run in a process of its own, with the seconds that it took and the most memory it held."""
    began = time.monotonic()
    command = [sys.executable, "-m", "groupwise.cli", "run", method, *options, *words, "--out", str(RUNS / name)]
    child = subprocess.Popen([*command, "--fresh"], cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with {status}")
    return {"seconds": time.monotonic() - began, "megabytes": used.ru_maxrss / 1024}


def rows(name: str, step: int = 1) -> list[dict[str, Any]]:
    import pyarrow.parquet as parquet

    return parquet.read_table(RUNS / name / "ledger" / "grpo" / f"{step:06}.parquet").to_pylist()


def metrics(name: str, file: str = "metrics.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (RUNS / name / file).read_text().splitlines()]


def baseline() -> dict[str, Any]:
    """Gradients of one model's samples under four baselines: how much they scatter, and what their mean is.

    The gradient is that of the last layer's down projection, completion by completion; 32 prompts with 16 samples each.
    """
    import torch
    from transformers import AutoModelForCausalLM

    words = ("--prompts_per_step", "32", "--group_size", "16", "--steps", "1")
    if not (RUNS / "samples" / "ledger").exists():
        run("grpo", "samples", *words, *FEW)
    found = rows("samples")
    model = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    gradients = gradients_of(model, model.model.layers[-1].mlp.down_proj, found)
    rewards = torch.tensor([row["reward"] for row in found])
    groups = torch.tensor([row["group"] for row in found])
    first = [(row["group"], tuple(row["tokens"][:7])) for row in found]
    same = torch.tensor([[a == b for b in first] for a in first], dtype=torch.float32)
    peers = (groups[:, None] == groups[None, :]).float()
    others = peers - torch.eye(len(found))
    left_out = (others @ rewards) / others.sum(1)
    lengths = (gradients**2).sum(1)
    weighed = (others @ (rewards * lengths)) / (others @ lengths)
    advantages = {
        "none": rewards,
        "none, rewards 1 and 2": rewards + 1,
        "the others of the group": rewards - left_out,
        "the others, weighed by their gradients' squared lengths": rewards - weighed,
        "those that begin alike": rewards - (same @ rewards) / same.sum(1),
    }
    whole = (gradients * rewards[:, None]).mean(0)
    wrong = lengths[rewards == 0].mean() / lengths[rewards > 0].mean()
    found = {name: scatter(gradients, values, groups, whole) for name, values in advantages.items()}
    return found | {"squared length of a wrong answer's gradient, in right ones'": float(wrong)}


def gradients_of(model: Any, linear: Any, found: list[dict[str, Any]]) -> Any:
    """Each completion's own gradient of its log-probability with respect to one layer's weight; completions of a length
    are read together, and their gradients are told apart by what went into the layer and what came back to it."""
    import torch

    seen: dict[str, Any] = {}
    hook = linear.register_forward_hook(lambda _, given, made: seen.update(given=given[0], made=made))
    made: list[Any] = [None] * len(found)
    by_length: dict[tuple[int, int], list[int]] = {}
    for place, row in enumerate(found):
        by_length.setdefault((len(row["prompt_tokens"]), len(row["tokens"])), []).append(place)
    for (prompt, _), places in by_length.items():
        ids = torch.tensor([found[place]["prompt_tokens"] + found[place]["tokens"] for place in places])
        logprobs = model(ids).logits[:, prompt - 1 : -1].log_softmax(-1)
        said = logprobs.gather(-1, ids[:, prompt:, None]).sum()
        (back,) = torch.autograd.grad(said, seen["made"])
        for place, own in zip(places, torch.einsum("bto,bti->boi", back, seen["given"]), strict=True):
            made[place] = own.detach().flatten()
    hook.remove()
    return torch.stack(made)


def scatter(gradients: Any, advantages: Any, groups: Any, whole: Any) -> dict[str, float]:
    """The noise of one sample among those of its prompt, and the mean's length and cosine with that of no baseline."""
    import torch

    weighted = gradients * advantages[:, None]
    noise = [weighted[groups == group].var(0).sum() for group in groups.unique()]
    centre = weighted.mean(0)
    cosine = torch.nn.functional.cosine_similarity(centre, whole, 0)
    return {"noise": float(sum(noise)) / len(noise), "length": float(centre.norm()), "cosine": float(cosine)}


def kl() -> dict[str, Any]:
    """The three estimators and the exact KL, token by token, of a policy that moved without a penalty."""
    import torch
    from transformers import AutoModelForCausalLM

    from groupwise.algorithm import kl as estimators

    if not (RUNS / "moved" / "models").exists():
        run("grpo", "moved", "--beta", "0", *FEW)
    run("grpo", "of_moved", "--steps", "1", "--model", str(RUNS / "moved" / "models" / "grpo"), *FEW)
    policy = AutoModelForCausalLM.from_pretrained(RUNS / "moved" / "models" / "grpo", dtype=torch.float32)
    reference = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    kept: dict[str, list[float]] = {"exact": [], "k1": [], "k2": [], "k3": []}
    for row in rows("of_moved"):
        ids, start = torch.tensor([row["prompt_tokens"] + row["tokens"]]), len(row["prompt_tokens"]) - 1
        with torch.no_grad():
            here, there = (model(ids).logits[0, start:-1].log_softmax(-1) for model in (policy, reference))
        kept["exact"] += (here.exp() * (here - there)).sum(-1).tolist()
        tokens = torch.tensor(row["tokens"])[:, None]
        pair = here.gather(-1, tokens)[:, 0], there.gather(-1, tokens)[:, 0]
        for name in ("k1", "k2", "k3"):
            kept[name] += getattr(estimators, name)(*pair).tolist()
    result: dict[str, Any] = {}
    for name, values in kept.items():
        negative = sum(value < 0 for value in values) / len(values)
        result[name] = {"mean": statistics.fmean(values), "spread": statistics.stdev(values), "negative": negative}
    return result | {"tokens": len(kept["exact"])}


def scores() -> dict[str, Any]:
    """A reward model from pairs of the policy's own answers, and what it says of right and of wrong ones."""
    data = ("--model", MODEL, "--data", "stepwise:1", "--reward", "answer", "--max_completion_tokens", "48")
    size = ("--prompts_per_step", "32", "--steps", "60", "--learning_rate", "2e-3", "--source.prompts", "512")
    judge = RUNS / "judge" / "models" / "reward_model_samples"
    if not judge.exists():
        run("reward_model_samples", "judge", *size, *FEW[2:4], options=data)
    run("grpo", "judged", "--reward", f"outcome:{judge}", "--judge", "answer", "--steps", "1", *FEW)
    found = rows("judged")
    said: dict[bool, list[float]] = {True: [], False: []}
    for row in found:
        said[row["text"].strip().endswith(f"#### {row['answer']}")].append(row["reward"])
    pairs = [right > wrong for right in said[True] for wrong in said[False]]
    return {
        "right": {"mean": statistics.fmean(said[True]), "count": len(said[True])},
        "wrong": {"mean": statistics.fmean(said[False]), "count": len(said[False])},
        "lowest": min(row["reward"] for row in found),
        "highest": max(row["reward"] for row in found),
        "pairs_in_order": sum(pairs) / len(pairs),
    }


def responses() -> dict[str, Any]:
    """Which completions of a step are learned from, in GRPO's first step and in a late one of the quickstart."""
    result = {}
    run("grpo", "first", "--steps", "1", *FEW)
    import pyarrow.parquet as parquet

    late = parquet.read_table(ROOT / "runs" / "quickstart" / "ledger" / "grpo" / "000060.parquet").to_pylist()
    for name, found in (("first", rows("first")), ("late", late)):
        signal = [any(value for value in row["advantages"]) for row in found]
        result[name] = {
            "completions": len(found),
            "wrong": sum(not row["correct"] for row in found),
            "with_an_advantage": sum(signal),
            "pushed_down": sum(any(value < 0 for value in row["advantages"]) for row in found),
            "tokens_sampled": sum(len(row["tokens"]) for row in found),
            "tokens_of_prompts": sum(len(row["prompt_tokens"]) for row in found),
        }
    return result


def equal() -> dict[str, Any]:
    """PPO and GRPO up to the same mean reward: samples, seconds and memory, a run a seed."""
    ppo = ("--group_size", "1", "--prompts_per_step", "128")
    found: dict[str, Any] = {}
    for method, words in (("grpo", ()), ("ppo", ppo)):
        for seed in SEEDS:
            name = f"{method}-{seed}"
            used = run(method, name, *words, "--seed", str(seed), "--steps", str(LONGEST), *FEW)
            found.setdefault(method, []).append({"seed": seed, "megabytes": round(used["megabytes"])} | reached(name))
    return found


def reached(name: str) -> dict[str, Any]:
    """The first step at which the mean over three steps is the target or more, and what it took to be there."""
    rewards = [row["reward"] for row in metrics(name)]
    seconds = [row["step_time"] for row in metrics(name, "times.jsonl") if "step_time" in row]
    learning = [row["seconds/train"] for row in metrics(name, "times.jsonl") if "seconds/train" in row]
    state = next((RUNS / name / "checkpoints").glob("*/groupwise_state.safetensors")).stat().st_size
    for step in range(SMOOTH, len(rewards) + 1):
        if statistics.fmean(rewards[step - SMOOTH : step]) >= TARGET:
            took = {"steps": step, "completions": 128 * step, "seconds": round(sum(seconds[:step]), 1)}
            return took | {
                "seconds_learning": round(sum(learning[:step]), 1),
                "state_megabytes": round(state / 2**20, 1),
            }
    return {"steps": None, "last": statistics.fmean(rewards[-SMOOTH:]), "state_megabytes": round(state / 2**20, 1)}


PARTS: dict[str, Callable[[], dict[str, Any]]] = {
    "baseline": baseline,
    "kl": kl,
    "scores": scores,
    "responses": responses,
    "equal": equal,
}


if __name__ == "__main__":
    raise SystemExit(main())
