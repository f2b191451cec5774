"""Two learners in two threads of one process: each has its own lanes, and gets the numbers that it gets alone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.engines import Native
from groupwise.learners.local import LocalLearner
from groupwise.types import Request, Sampling

Open = Callable[..., LocalLearner]


def learned(learner: LocalLearner, rollouts: Any) -> list[Tensor]:
    """Log-probabilities and the weights, step after step."""
    found: list[Tensor] = []
    for _ in range(4):
        found.append(learner.logprobs(rollouts, 1.0))
        learner.backward(rollouts, 1.0, lambda _, said: Outputs(said.logprobs.exp()))
        learner.step(float(len(rollouts)), 1e-3)
    return found + [parameter.detach().clone() for parameter in learner.model.parameters()]


def together(*works: Callable[[], Any]) -> list[Any]:
    """Each in a thread of its own; all begin at once."""
    begin, found = threading.Barrier(len(works)), list[Any](works)

    def run(number: int) -> None:
        begin.wait(60)
        found[number] = works[number]()

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize(
    ("dtype", "options"),
    [("float32", {}), ("float32", {"checkpointing": True}), ("float64", {"checkpointing": True})],
    ids=["kept", "computed again", "computed again, without kernels"],
)
def test_two_learners_at_once_learn_what_each_learns_alone(
    open_learner: Open, random_groups: Any, dtype: str, options: dict[str, Any]
) -> None:
    batches = [[rollout for group in random_groups(seed, 9, 4) for rollout in group.rollouts] for seed in (0, 1)]
    opened = [
        lambda number=number, count=count: open_learner(
            threads=count, dtype=dtype, tokens_per_micro_batch=200, **options
        )
        for number, count in enumerate((3, 2))
    ]
    before = torch.get_num_threads()
    alone = [learned(make(), batch) for make, batch in zip(opened, batches, strict=True)]
    learners = [make() for make in opened]
    found = together(*(lambda n=n: learned(learners[n], batches[n]) for n in (0, 1)))
    for ours, theirs in zip(found, alone, strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours, theirs, strict=True))
    assert [learner.threads for learner in learners] == [3, 2]
    assert torch.get_num_threads() == before


def test_a_learner_and_a_sampler_at_once(open_learner: Open, random_groups: Any) -> None:
    rollouts = [rollout for group in random_groups(3, 9, 4) for rollout in group.rollouts]
    learner, other = open_learner(threads=2), open_learner(threads=1)
    engine = Native(threads=2).open(other.directory, other.live_module(), other.tokenizer)
    requests = [Request((5, 6, number), tuple(range(9))) for number in range(9)]

    def sampled() -> list[Any]:
        return sorted((n, i, c.tokens, c.logprobs) for n, i, c in engine.generate(requests, Sampling(40)))

    expected = sampled(), learned(open_learner(threads=2), rollouts)
    found = together(sampled, lambda: learned(learner, rollouts))
    assert found[0] == expected[0]
    assert all(torch.equal(*pair) for pair in zip(found[1], expected[1], strict=True))


@pytest.mark.parametrize("lora", [0, 3])
def test_the_number_of_threads_changes_no_bit(open_learner: Open, random_groups: Any, lora: int) -> None:
    from groupwise.learners.config import Lora

    rollouts = [rollout for group in random_groups(4, 12, 4) for rollout in group.rollouts]
    expected = learned(open_learner(threads=1, lora=Lora(rank=lora)), rollouts)
    for count in (2, 5):
        found = learned(open_learner(threads=count, lora=Lora(rank=lora)), rollouts)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
