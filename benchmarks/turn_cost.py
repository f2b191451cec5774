"""What turns cost: 512 episodes of a guessing game against as many tokens sampled in one turn by the same model.

    python benchmarks/turn_cost.py            prints a line a try, and writes turn_cost.json beside this file

The model is random, so its words are read as guesses whatever they are, and many bytes end a turn: an episode has five
or six turns of a few tokens, as a trained player's have. Best of several tries each, alternating. Beside the ratio
stands the one that no loop goes below: as many tokens in one turn as the model says and hears, for it computes both.
CPU seconds are those of this process, without the environments'.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch

import groupwise as gw
from groupwise.engines import Native
from groupwise.environments import Reply
from groupwise.learners.device import machine
from groupwise.protocols import RolloutEngine
from groupwise.sources.episode_metrics import WorldTime
from groupwise.sources.episodes import open_prompts, play
from groupwise.tasks.task_renderer import renderer_of
from groupwise.types import Request, Sampling

PROMPTS, GROUP, TRIES = 32, 16, 3
MODEL = gw.NewModel(hidden_size=128, layers=4, heads=4, intermediate_size=512, context_tokens=256)
ENDINGS = tuple(range(60, 140))
"""Ids that end a turn beside the model's own: a third of all, so that a turn has three tokens."""
RESULTS = Path(__file__).with_name("turn_cost.json")


def guess(row: Mapping[str, Any], random: Random) -> Generator[str, Reply, float]:
    """A number from 1 to 63 in six guesses; words that are no number count as one all the same."""
    said = yield "I think of a number from 1 to 63."
    for _ in range(5):
        number = sum(said.encode("utf-8", "replace")) % 64
        if number == row["secret"]:
            return 1.0
        said = yield "more" if number < row["secret"] else "less"
    return 0.0


def main() -> None:
    """Measures and writes."""
    random = Random(0)
    task = gw.Task("guess", [{"secret": random.randint(1, 63)} for _ in range(PROMPTS)], environment=guess, turns=6)
    with tempfile.TemporaryDirectory() as place:
        MODEL.save(Path(place))
        learner = gw.Local(device="cpu").open(Path(place))
    engine = Native().open("new", learner.live_module(), learner.tokenizer)
    renderer, reward = renderer_of(task, learner.tokenizer, "new", (*learner.stop_tokens, *ENDINGS)), task.episodes
    assert reward is not None
    prompts = list(open_prompts(renderer, reward, list(zip(task.train, range(PROMPTS), strict=True))))
    seeds = [tuple(range(place * GROUP, (place + 1) * GROUP)) for place in range(PROMPTS)]
    tries: list[dict[str, float]] = []
    for _ in range(TRIES):
        clock, started, worked = WorldTime(), time.perf_counter(), time.process_time()
        how = renderer.sampling(64)
        rollouts = [rollout for _, rollout in play(engine, renderer, reward, prompts, seeds, how, clock=clock)]  # type: ignore[arg-type]
        turns, turns_cpu = time.perf_counter() - started, time.process_time() - worked
        tokens = sum(sum(rollout.mask) for rollout in rollouts)
        heard = sum(len(rollout.mask) for rollout in rollouts) - tokens
        requests = [Request(prompt.tokens, own) for prompt, own in zip(prompts, seeds, strict=True)]  # type: ignore[union-attr]
        single, single_cpu = one_turn(engine, requests, tokens)
        computed, _ = one_turn(engine, requests, tokens + heard)
        mean = sum(len(rollout.turns) for rollout in rollouts) / len(rollouts)
        counts = {"tokens": tokens, "heard": heard, "mean_turns": mean, "world": clock.seconds}
        cpu = {"turns_cpu": turns_cpu, "single_cpu": single_cpu}
        tries.append({"turns": turns, "single": single, "computed": computed} | cpu | counts)
        print({name: round(value, 3) for name, value in tries[-1].items()}, flush=True)
    timed = ("turns", "single", "computed", "turns_cpu", "single_cpu")
    best = {name: min(one[name] for one in tries) for name in timed}
    ratio, least = best["turns"] / best["single"], best["computed"] / best["single"]
    print(
        f"{PROMPTS * GROUP} episodes: {best['turns']:.2f} s; as many tokens in one turn {best['single']:.2f} s: "
        f"x {ratio:.2f}, and x {least:.2f} with the tokens that were heard; load {os.getloadavg()[0]:.1f}"
    )
    found = {"episodes": PROMPTS * GROUP, "ratio": ratio, "least": least, "best": best, "tries": tries}
    found |= {"load": round(os.getloadavg()[0], 1), "machine": machine()}
    RESULTS.write_text(json.dumps(found, indent=1, default=str) + "\n")
    reward.worlds.close()


def one_turn(engine: RolloutEngine, requests: Sequence[Request], tokens: int) -> tuple[float, float]:
    """Seconds, and those of the CPU, in which so many tokens are drawn in one turn each."""
    started, worked = time.perf_counter(), time.process_time()
    each = round(tokens / (PROMPTS * GROUP))
    drawn = sum(len(one.tokens) for _, _, one in engine.generate(requests, Sampling(each)))
    share = tokens / drawn
    return (time.perf_counter() - started) * share, (time.process_time() - worked) * share


if __name__ == "__main__":
    torch.manual_seed(0)
    main()
