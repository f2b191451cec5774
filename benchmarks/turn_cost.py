"""What turns cost: 512 episodes of a guessing game against as many tokens sampled in one turn by the same model.

    python benchmarks/turn_cost.py            prints a line a try, and writes turn_cost.json beside this file

The model is random, so its words are read as guesses whatever they are, and many bytes end a turn: an episode has five
or six turns of a few tokens, as a trained player's have. Best of several tries each, alternating. Beside the ratio
stands the one with which as many tokens are drawn in one turn as the model says and hears, for it computes both.

Three cases: a model of a million parameters that reads ``more`` and ``less`` letter by letter, and so hears twice as
many tokens as it says; the same one with a token for each of the two words, as any vocabulary of a real model has it;
and one of five million. CPU seconds are the engine's and the loop's in this process; environments have their own.
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
MODELS = {
    "letters": gw.NewModel(hidden_size=128, layers=4, heads=4, intermediate_size=512, context_tokens=256),
    "words": gw.NewModel(
        hidden_size=128, layers=4, heads=4, intermediate_size=512, context_tokens=256, pieces=("more", "less")
    ),
    "words, five million parameters": gw.NewModel(
        hidden_size=256, layers=5, heads=8, intermediate_size=1024, context_tokens=256, pieces=("more", "less")
    ),
}
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
    cases = {name: measured(name, model) for name, model in MODELS.items()}
    found = {"episodes": PROMPTS * GROUP, **next(iter(cases.values())), "cases": cases}
    found |= {"load": round(os.getloadavg()[0], 1), "machine": machine()}
    RESULTS.write_text(json.dumps(found, indent=1, default=str) + "\n")


def measured(name: str, model: gw.NewModel) -> dict[str, Any]:
    """The best of several tries, and all of them."""
    torch.manual_seed(0)
    random = Random(0)
    task = gw.Task("guess", [{"secret": random.randint(1, 63)} for _ in range(PROMPTS)], environment=guess, turns=6)
    with tempfile.TemporaryDirectory() as place:
        model.save(Path(place))
        learner = gw.Local(device="cpu").open(Path(place))
    engine = Native().open("new", learner.live_module(), learner.tokenizer)
    renderer, reward = renderer_of(task, learner.tokenizer, "new", (*learner.stop_tokens, *ENDINGS)), task.episodes
    assert reward is not None
    prompts = list(open_prompts(renderer, reward, list(zip(task.train, range(PROMPTS), strict=True))))
    seeds = [tuple(range(place * GROUP, (place + 1) * GROUP)) for place in range(PROMPTS)]
    requests = [Request(prompt.tokens, own) for prompt, own in zip(prompts, seeds, strict=True)]  # type: ignore[union-attr]
    tries: list[dict[str, float]] = []
    for _ in range(TRIES):
        clock, started, before = WorldTime(), time.perf_counter(), (time.process_time(), time.thread_time())
        played = play(engine, renderer, reward, prompts, seeds, renderer.sampling(64), clock=clock)  # type: ignore[arg-type]
        rollouts = [rollout for _, rollout in played]
        turns, loop = time.perf_counter() - started, time.thread_time() - before[1]
        cpu = {"engine_cpu": time.process_time() - before[0] - loop, "loop_cpu": loop}
        tokens = sum(sum(rollout.mask) for rollout in rollouts)
        heard = sum(len(rollout.mask) for rollout in rollouts) - tokens
        single, single_cpu = one_turn(engine, requests, tokens)
        computed, _ = one_turn(engine, requests, tokens + heard)
        mean = sum(len(rollout.turns) for rollout in rollouts) / len(rollouts)
        counts = {"tokens": tokens, "heard": heard, "mean_turns": mean, "world": clock.seconds}
        tries.append({"turns": turns, "single": single, "computed": computed, "single_cpu": single_cpu} | cpu | counts)
        print(name, {each: round(value, 3) for each, value in tries[-1].items()}, flush=True)
    reward.worlds.close()
    timed = ("turns", "single", "computed", "single_cpu", "engine_cpu", "loop_cpu")
    best = {each: min(one[each] for one in tries) for each in timed}
    ratio, least = best["turns"] / best["single"], best["computed"] / best["single"]
    print(
        f"{name}: {PROMPTS * GROUP} episodes in {best['turns']:.2f} s; as many tokens in one turn "
        f"{best['single']:.2f} s: x {ratio:.2f}, and x {least:.2f} with the tokens that were heard; "
        f"the engine's CPU x {best['engine_cpu'] / best['single_cpu']:.2f}; load {os.getloadavg()[0]:.1f}"
    )
    return {"ratio": ratio, "least": least, "best": best, "tries": tries}


def one_turn(engine: RolloutEngine, requests: Sequence[Request], tokens: int) -> tuple[float, float]:
    """Seconds, and those of the CPU, in which so many tokens are drawn in one turn each."""
    started, worked = time.perf_counter(), time.process_time()
    each = round(tokens / (PROMPTS * GROUP))
    drawn = sum(len(one.tokens) for _, _, one in engine.generate(requests, Sampling(each)))
    share = tokens / drawn
    return (time.perf_counter() - started) * share, (time.process_time() - worked) * share


if __name__ == "__main__":
    main()
