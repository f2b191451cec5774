"""A run directory as a run leaves it: invented numbers of the right shape, real evaluations of invented answers."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from groupwise.evaluation.comparison import Comparison, compare
from groupwise.evaluation.evaluate import Evaluation, Settings
from groupwise.evaluation.measure import Measure
from groupwise.evaluation.statistics import maj_at_k, pass_at_k
from groupwise.output.sample_completions import SampleCompletion

KS = (1, 2, 4, 8, 16, 32)


@cache
def evaluation_of(ability: float) -> Evaluation:
    """500 problems whose difficulty spreads around ``ability``; 32 samples on the first 100."""
    draw = random.Random(1)
    chances = [min(1.0, max(0.0, ability + draw.gauss(0, 0.28))) for _ in range(500)]
    answers = [[7 if draw.random() < chance else draw.randint(10, 18) for _ in range(32)] for chance in chances[:100]]
    correct = [[answer == 7 for answer in row] for row in answers]
    singles = [sum(row) / 32 for row in correct] + [float(draw.random() < chance) for chance in chances[100:]]
    texts = [f"<<37+{row}={37 + row}>>\n<<{37 + row}-4={33 + row}>>\n#### {33 + row}" for row in range(4)]
    return Evaluation(
        task="stepwise-arithmetic",
        settings=Settings(max_tokens=96),
        ids=tuple(f"held_out:{row}" for row in range(500)),
        greedy=Measure.of([float(chance > 0.45) for chance in chances]),
        pass_at_1=Measure.of(singles),
        pass_at={k: Measure.of([pass_at_k(32, sum(row), k) for row in correct]) for k in KS},
        maj_at={k: Measure.of([maj_at_k(a, c, k) for a, c in zip(answers, correct, strict=True)]) for k in KS},
        seconds=21.5,
        tokens=104_000,
        mean_completion_tokens=28.4,
        truncated_fraction=0.012,
        unparseable_fraction=0.004,
        unscored_fraction=0.0,
        prompts_too_long=0,
        completions=tuple(
            SampleCompletion(f"37 + {row} - 4 = ?", text, float(draw.random() < ability), True)
            for row, text in enumerate(texts)
        ),
    )


@cache
def comparison() -> Comparison:
    return compare(evaluation_of(0.36), evaluation_of(0.8))


def metrics(draw: random.Random) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for step in range(1, 301):
        loss = 0.35 + 2.4 * math.exp(-step / 45) + draw.gauss(0, 0.03)
        row = {"loss": loss, "mean_token_accuracy": 1 - loss / 3.4, "grad_norm": 0.4 + loss / 2, "learning_rate": 3e-3}
        row |= {
            "seconds/train": 0.11 + draw.random() * 0.02,
            "seconds/other": 0.01,
            "tokens_per_second/train": 21_000.0,
        }
        rows.append({"stage": "sft", "step": step, **row})
    for step in range(1, 81):
        skill = 1 / (1 + math.exp(-(step - 28) / 12))
        row = {
            "reward": 0.34 + 0.5 * skill + draw.gauss(0, 0.03),
            "reward_std": 0.4 - 0.2 * skill,
            "frac_reward_zero_std": max(0.0, 0.1 + 0.4 * skill + draw.gauss(0, 0.05)),
            "completions/mean_length": 29 - 2 * skill + draw.gauss(0, 0.4),
            "completions/clipped_ratio": max(0.0, 0.03 - 0.03 * skill),
            "kl": 0.09 * skill + abs(draw.gauss(0, 0.003)),
            "entropy": 0.42 - 0.25 * skill + draw.gauss(0, 0.01),
            "loss": draw.gauss(0, 1e-3),
            "grad_norm": 0.6 + draw.gauss(0, 0.05),
            "clip_ratio/high_mean": 0.01 * skill,
            "engine_learner_gap": 3e-7,
            "seconds/sample": 1.1 + draw.gauss(0, 0.08),
            "seconds/reward": 0.06,
            "seconds/train": 0.7 + draw.gauss(0, 0.04),
            "seconds/other": 0.04,
        }
        if step % 10 == 0:
            row["eval/accuracy"] = 0.36 + 0.5 * skill
        rows.append({"stage": "grpo", "step": step, **row})
    return rows


def group(draw: random.Random, a: int, b: int, c: int, hostile: str = "") -> dict[str, Any]:
    gold, rollouts = a + b - c, []
    for index in range(8):
        wrong = index % 3 == 1
        middle, last = a + b + (10 if wrong else 0), a + b - c + (10 if wrong else 0)
        tokens = ["<<", str(a), "+", str(b), "=", str(middle), ">>", "\n"]
        tokens += ["<<", str(middle), "-", str(c), "=", str(last), ">>", "\n", "####", f" {last}", "<eos>"]
        if index == 1 and hostile:
            tokens[6:6] = [hostile]
        advantage = -1.21 if wrong else 0.73
        finished = index != 4
        tokens = tokens if finished else tokens[:-4]
        alike = random.Random(index if wrong or not finished else 99)
        logprobs = [-(abs(alike.gauss(0, 0.7)) ** 2) for _ in tokens]
        rollouts.append(
            {
                "text": "".join(tokens).removesuffix("<eos>"),
                "tokens": tokens,
                "reward": float(last == gold and finished),
                "advantage": advantage,
                "coefficients": [advantage / len(tokens) * (1 - math.exp(p) * 0.8) for p in logprobs],
                "logprobs": logprobs,
                "finished": finished,
            }
        )
    prompt = f"{a} + {b} - {c} = ?"
    return {"stage": "grpo", "step": draw.randint(1, 80), "prompt": prompt, "answer": str(gold), "rollouts": rollouts}


def episodes(words: str) -> dict[str, Any]:
    """A group of two episodes in which everybody says ``words``."""
    tokens = [words, "<|end|>", "<|user|>", words, "<|assistant|>", "7", "<|end|>"]
    mask = [True, True, False, False, False, True, True]
    first = {"role": "assistant", "text": words, "tokens": [0, 2], "reward": 0.25, "advantage": 0.5}
    heard = {"role": "tool", "text": words, "tool": words or "add"}
    last = {"role": "assistant", "text": "7", "tokens": [5, 7], "reward": -0.5, "advantage": 0.75}
    rollout = {
        "text": f"{words}\n7",
        "tokens": tokens,
        "reward": -0.25,
        "advantage": 0.75,
        "coefficients": [0.1 * own for own in mask],
        "logprobs": [-0.1 * own for own in mask],
        "finished": True,
        "stop": "finished",
        "said": [first, heard, last],
    }
    cut = {**rollout, "finished": False, "stop": "turns", "said": [{**first, "reward": None}, heard]}
    opening = [{"role": "system", "text": "Be brief."}, {"role": "user", "text": f"What {words}?"}]
    place = {"stage": "grpo", "step": 1, "prompt": "Be brief. What?", "answer": None}
    return place | {"opening": opening, "rollouts": [rollout, cut]}


@pytest.fixture
def make_episodes() -> Callable[[str], dict[str, Any]]:
    """``make_episodes(words)``: see ``episodes``."""
    return episodes


@pytest.fixture
def run_directory(tmp_path: Path) -> Callable[..., Path]:
    """``run_directory(hostile="", leave_out=())``: writes one; ``hostile`` text is put wherever a model may write."""

    def write(hostile: str = "", leave_out: tuple[str, ...] = ()) -> Path:
        draw = random.Random(7)
        before, after = evaluation_of(0.36), evaluation_of(0.8)
        models = [{"stage": "sft", "evaluation": before.to_json()}, {"stage": "grpo", "evaluation": after.to_json()}]
        if hostile:
            models[1]["evaluation"]["completions"][0]["text"] = hostile
        recipe = {"model": {"kind": "qwen3", "layers": 4, "width": 128}, "seed": 0, "grpo": {"group_size": 16}}
        run = {
            "name": "quickstart" + hostile,
            "recipe": recipe,
            "stages": [{"name": "sft", "steps": 300}, {"name": "grpo", "steps": 80}],
            "machine": {"cpu": "x86_64", "cores": 2},
            "versions": {"groupwise": "0.1.0", "torch": "2.13.0", "transformers": "5.23.0"},
            "started": "2026-11-21 07:12",
            "seconds": 271.4,
        }
        parts = {
            "run.json": json.dumps(run),
            "metrics.jsonl": "".join(json.dumps(row) + "\n" for row in metrics(draw)),
            "evaluation.json": json.dumps({"models": models, "comparison": comparison().to_json()}),
            "groups.json": json.dumps(
                [group(draw, 37, 58, 46, hostile), group(draw, 64, 29, 17), group(draw, 5, 9, 3)]
                + ([episodes(hostile)] if hostile else [])
            ),
        }
        for name, text in parts.items():
            if name not in leave_out:
                (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path

    return write
