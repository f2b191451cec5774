"""Adapters beside weights in bfloat16: what is learned is what is sampled, saved, and brought back."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from groupwise.algorithm import Outputs
from groupwise.engines import Native
from groupwise.learners import Local, Lora
from groupwise.learners.local import LocalLearner
from groupwise.types import Completion, Example, Prompt, Request, Rollout, Sampling

Open = Callable[..., LocalLearner]
PROMPT = tuple(range(5, 13))
ADAPTERS = pytest.mark.parametrize(
    "lora",
    [Lora(rank=4), Lora(rank=4, rslora=True), Lora(2, targets=("lm_head", "q_proj")), Lora(8, targets=("lm_head",))],
    ids=["blocks", "rslora", "head and q", "head"],
)  # fmt: skip


def sampled(learner: LocalLearner, model: Any = None, count: int = 8) -> list[Rollout]:
    """By an engine on what the learner gives to engines."""
    engine = Native().open(learner.directory, learner.live_module() if model is None else model, learner.tokenizer)
    if model is None:
        engine.load(learner.weights(), learner.version)
    prompt = Prompt(Example("row", "?"), PROMPT)
    said = {index: one for _, index, one in engine.generate([Request(PROMPT, tuple(range(count)))], Sampling(16))}
    return [as_rollout(prompt, said[index]) for index in range(count)]


def as_rollout(prompt: Prompt, said: Completion) -> Rollout:
    return Rollout(prompt, said.tokens, (True,) * len(said.tokens), said.logprobs, "", said.finished, 0)


def learn(learner: LocalLearner, rate: float, steps: int = 12) -> None:
    rollouts = sampled(learner)
    signs = torch.tensor([1.0 if number % 2 else -1.0 for number in range(len(rollouts))])

    def rewarded(rows: Any, outputs: Outputs) -> Outputs:
        return Outputs(torch.ones_like(outputs.logprobs) * signs[torch.tensor(rows)][:, None])

    for _ in range(steps):
        learner.backward(rollouts, 1.0, rewarded)
        learner.step(float(len(rollouts)), rate)


def gap(learner: LocalLearner, rollouts: list[Rollout], reference: bool = False) -> float:
    """Mean absolute difference of the engine's log-probabilities from the learner's."""
    found = learner.logprobs(rollouts, 1.0, reference=reference)
    pairs = [
        (found[row, : len(each.tokens)], torch.tensor(each.behavior_logprobs)) for row, each in enumerate(rollouts)
    ]
    return float(torch.cat([(ours - theirs).abs() for ours, theirs in pairs]).mean())


@ADAPTERS
@pytest.mark.parametrize("rate", [1e-5, 1e-4])
def test_all_that_the_adapters_change_reaches_the_sampler(open_learner: Open, lora: Lora, rate: float) -> None:
    """Seen in float32, so that it is the weights' rounding that is measured and not that of hidden states. With the
    adapters added to weights in bfloat16, a fifth of the change was left at 1e-5."""
    learner = open_learner(lora=lora, dtype="bfloat16", threads=1)
    learner.start_stage("")
    learn(learner, rate)
    wide = copy.deepcopy(learner.model).float()
    rollouts = sampled(learner, wide)
    base, policy = open_learner(dtype="bfloat16").model.float(), copy.deepcopy(learner._policy.model).float()
    lost = changed = 0.0
    for rollout in rollouts:
        ids = torch.tensor([[*PROMPT, *rollout.tokens]])
        with torch.no_grad():
            own, before = (
                model(ids[:, :-1]).logits[0, len(PROMPT) - 1 :].log_softmax(-1).gather(1, ids[0, len(PROMPT) :, None])
                for model in (policy, base)
            )
        lost += float((own[:, 0] - torch.tensor(rollout.behavior_logprobs)).abs().sum())
        changed += float((own - before).abs().sum())
    assert changed > 0
    assert 1 - lost / changed > 0.99


@ADAPTERS
def test_engine_and_learner_are_as_near_as_without_adapters(open_learner: Open, lora: Lora) -> None:
    plain = open_learner(dtype="bfloat16", threads=1)
    usual = gap(plain, sampled(plain, count=32))
    learner = open_learner(lora=lora, dtype="bfloat16", threads=1)
    learner.start_stage("")
    learn(learner, 1e-4)
    rollouts = sampled(learner, count=32)
    assert gap(learner, rollouts, reference=True) > 10 * usual  # what was learned is much more than rounding
    assert usual < 5e-4
    assert gap(learner, rollouts) < max(2e-4, 1.5 * usual)  # where engine and learner round alike, usual is nearly 0


@ADAPTERS
def test_weights_have_the_names_of_the_model_that_engines_are_opened_on(open_learner: Open, lora: Lora) -> None:
    """Another model of that kind takes them all."""
    learner, other = (open_learner(lora=lora, dtype="bfloat16", threads=1) for _ in range(2))
    learn(learner, 1e-2)
    names = [name for name, _ in other.model.named_parameters(remove_duplicate=False)]
    assert [name for name, _ in learner.weights()] == names
    Native().open(other.directory, other.live_module(), other.tokenizer).load(learner.weights(), 7)
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(other.model(ids).logits, learner.model(ids).logits)


@ADAPTERS
def test_the_saved_model_is_in_float32_and_lacks_nothing(open_learner: Open, lora: Lora, tmp_path: Path) -> None:
    learner = open_learner(lora=lora, dtype="bfloat16", threads=1)
    learn(learner, 1e-4)
    learner.save(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == "float32"
    stored = load_file(tmp_path / "model.safetensors")
    assert {str(tensor.dtype) for tensor in stored.values()} == {"torch.float32"}
    assert learner.memory.saved_bytes() >= sum(tensor.numel() * 4 for tensor in stored.values())
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits
        beside = copy.deepcopy(learner.model).float()(ids).logits
    torch.testing.assert_close(merged, beside, rtol=1e-4, atol=1e-5)
    assert learner.merge_loss().startswith("adapters are in the saved model's float32 weights; rounding took 0.")


def test_a_model_with_adapters_in_it_says_what_bfloat16_takes_from_them(open_learner: Open, tmp_path: Path) -> None:
    """By hand: the norm of the rounding of every weight against that of scale · B A."""
    lora = Lora(rank=4)
    learner = open_learner(lora=lora, dtype="bfloat16", threads=1)
    learn(learner, 1e-5)
    learner.save(tmp_path)
    error = size = 0.0
    for module in learner.model.modules():
        if hasattr(module, "get_delta_weight"):
            delta, base = module.get_delta_weight("default").double(), module.get_base_layer().weight.double()
            merged = (base + delta).float()
            error += float((merged.bfloat16().double() - merged.double()).square().sum())
            size += float(delta.square().sum())
    share = (error / size) ** 0.5
    assert share > 0.1
    notes: list[str] = []
    Local(device="cpu", dtype="bfloat16", threads=1).open(tmp_path, notes.append)
    assert notes == [
        f"{tmp_path}: its weights have adapters in them; in bfloat16 they are rounded by {share:.1%} of the norm of "
        "what the adapters added (float32 keeps it)"
    ]
    notes.clear()
    Local(device="cpu", threads=1).open(tmp_path, notes.append)
    assert notes == []


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@ADAPTERS
def test_continued_to_the_bit(open_learner: Open, lora: Lora, dtype: str, tmp_path: Path) -> None:
    """From a checkpoint, which says nothing of rounding: its state brings back what was there."""
    learner = open_learner(lora=lora, dtype=dtype, threads=1)
    learner.start_stage("")
    learn(learner, 1e-3, steps=2)
    checkpoint, notes = tmp_path / "checkpoint", list[str]()
    learner.save(checkpoint)
    learner.write(checkpoint)
    again = learner.config.open(checkpoint, notes.append)
    again.start_stage("")
    again.read(checkpoint)
    assert not [note for note in notes if "rounded" in note]
    for number, one in enumerate((learner, again)):
        learn(one, 1e-3, steps=2)
        one.save(tmp_path / str(number))
    files = sorted(path.relative_to(tmp_path / "0") for path in (tmp_path / "0").rglob("*") if path.is_file())
    assert Path("adapter/adapter_model.safetensors") in files
    for name in files:
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name
    assert [one.behavior_logprobs for one in sampled(learner)] == [one.behavior_logprobs for one in sampled(again)]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@ADAPTERS
def test_what_a_stage_left_is_opened_as_it_was(open_learner: Open, lora: Lora, dtype: str, tmp_path: Path) -> None:
    """On the model that the stage began with: evaluations after a kill are those that would have been made."""
    learner, again = (open_learner(lora=lora, dtype=dtype, threads=1) for _ in range(2))
    learn(learner, 1e-3, steps=2)
    learner.save(tmp_path)
    again.load_left(tmp_path)
    assert [one.behavior_logprobs for one in sampled(learner)] == [one.behavior_logprobs for one in sampled(again)]
