"""Runs under limits on threads and processes (``ulimit -u``) and on memory: they go on, or one sentence says why not.

No limit binds root, so that each is run as a plain user. What is imported is so before, and what is compiled.
"""

from __future__ import annotations

import os
import resource
from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from forked import in_child
from kills import whole

import groupwise as gw
from groupwise.kernels import build
from groupwise.learners.loading import load_tokenizer
from groupwise.learners.memory import ran_out
from groupwise.tasks.task import Task
from recipes import MODEL, ROWS, SAMPLED, odd, stage

NOBODY = 65534
THREADS = (1, 2, 3, 5, 8)  # that the user may have in all
MEGABYTES = (0, 8, 32, 96, 256)  # of memory beyond what the process has
NAMED = 2
TILED, UNTILED = "tiled", "not tiled"


def limits(place: Path) -> dict[str, Any]:
    """A policy of each kind under each limit; ``lost``: what ended without a sentence."""
    place.chmod(0o755)
    for source in build.HERE.glob("*.cpp"):
        build.library(source.stem)
    models(place)
    whole("grpo", place / "whole")  # imports what a run imports
    in_child(partial(ran, place, UNTILED), place / "without a limit")
    counts: Counter[str] = Counter()
    lost = []
    for kind in (TILED, UNTILED):
        for limit, values in ((resource.RLIMIT_NPROC, THREADS), (resource.RLIMIT_AS, MEGABYTES)):
            for value in values:
                said, what = limited(place, kind, limit, value)
                counts[what] += 1
                if what == "ended_otherwise":
                    lost.append(f"{kind}, limit {limit} of {value}: {said[-400:]}")
    return {"limits": sum(counts.values()), **dict(counts), "lost": lost}


def models(place: Path) -> None:
    """One whose blocks are computed in tiles, and one that torch computes, in as many threads as it is given."""
    from transformers import GPT2Config, GPT2LMHeadModel

    MODEL.save(place / TILED, seed=1)
    tokenizer = load_tokenizer(place / TILED)
    stop = tokenizer.eos_token_id
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=256, n_layer=2, n_head=2, eos_token_id=stop, bos_token_id=stop
    )
    GPT2LMHeadModel(config).save_pretrained(place / UNTILED)
    tokenizer.save_pretrained(place / UNTILED)
    for path in (place / TILED, place / UNTILED):
        for file in (path, *path.iterdir()):
            file.chmod(0o755)


def limited(place: Path, kind: str, limit: int, value: int) -> tuple[str, str]:
    """What a run under a limit said, and how it ended."""
    there = place / f"{kind}-{limit}-{value}"
    there.mkdir()
    there.chmod(0o777)
    status = in_child(partial(ran, place, kind, limit, value), there)
    ends = {0: "went_on", NAMED: "ended_with_a_sentence"}
    said = (there / "said.txt").read_text()
    return said, "ended_otherwise" if "Traceback" in said else ends.get(status, "ended_otherwise")


def ran(place: Path, kind: str, limit: int = -1, value: int = 0) -> None:
    """Three steps of GRPO in three threads, in this process."""
    torch.set_num_threads(2)
    if limit >= 0:
        bind(limit, value)
    algorithm = replace(gw.recipes.grpo, source=SAMPLED)
    task = Task("letters", ROWS, (gw.as_reward(odd, isolated=False),), held_out=ROWS)
    plan = stage("grpo", algorithm, task, steps=3)
    learner = gw.Local(device="cpu", threads=3)
    evaluation = gw.HeldOut(problems=4, sampled_problems=2, samples=2, max_completion_tokens=6, during=2)
    recipe = gw.Run("limits", str(place / kind), (plan,), learner=learner, evaluation=evaluation)
    try:
        gw.run(recipe, "run")
    except gw.UserError as error:
        print(error)
        raise SystemExit(NAMED) from None
    except Exception as error:
        if not ran_out(error):
            raise
        print(f"memory ran out: {type(error).__name__}: {error}")
        raise SystemExit(NAMED) from None


def bind(limit: int, value: int) -> None:
    """As a plain user; memory beyond what is mapped now."""
    os.environ["HOME"] = os.getcwd()
    if os.getuid() == 0:
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    if limit == resource.RLIMIT_AS:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        value = pages * resource.getpagesize() + (value << 20)
    resource.setrlimit(limit, (value, value))
