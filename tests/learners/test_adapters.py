"""Adapters on the output head, what a saved model says of it, and files that are the same in every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from groupwise.algorithm import Outputs
from groupwise.learners import Local
from groupwise.learners.config import Lora
from groupwise.learners.local import LocalLearner
from groupwise.storage.tensors import load_state, save_state
from groupwise.types import Group, Rollout, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]

on_the_head = pytest.mark.parametrize(
    "targets", [("lm_head",), ("lm_head", "q_proj"), ("q_proj", "down_proj")], ids=" ".join
)


def likelihood(rows: Any, outputs: Outputs) -> Outputs:
    return Outputs(torch.ones_like(outputs.logprobs))


def learn(learner: LocalLearner, rollouts: list[Rollout], steps: int = 3) -> None:
    for _ in range(steps):
        learner.backward(rollouts, 1.0, likelihood)
        learner.step(float(len(rollouts)), 1e-2)


@on_the_head
def test_the_reference_has_no_adapter_that_learned_since(
    open_learner: Open, random_groups: RandomGroups, targets: tuple[str, ...]
) -> None:
    learner, rollouts = open_learner(lora=Lora(rank=4, targets=targets)), flatten(random_groups())
    learner.start_stage("")
    before = learner.logprobs(rollouts, 1.0)
    learn(learner, rollouts)
    assert (learner.logprobs(rollouts, 1.0) - before).abs().max() > 1e-2
    torch.testing.assert_close(learner.logprobs(rollouts, 1.0, reference=True), before, rtol=1e-6, atol=1e-6)


@on_the_head
def test_an_exact_kl_counts_what_the_head_has_learned(
    open_learner: Open, tiny_model: Path, random_groups: RandomGroups, targets: tuple[str, ...]
) -> None:
    """The sum over the vocabulary, by transformers' own two models."""
    learner, rollouts = open_learner(lora=Lora(rank=4, targets=targets)), flatten(random_groups())
    learner.start_stage("")
    learn(learner, rollouts)
    found = torch.zeros(len(rollouts))

    def keep(rows: Any, outputs: Outputs) -> Outputs:
        assert outputs.exact_kl is not None
        found[torch.tensor(rows)] = outputs.exact_kl.sum(dim=1).float()
        return Outputs(torch.zeros_like(outputs.logprobs))

    learner.backward(rollouts, 1.0, keep, outputs=frozenset({"exact_kl"}))
    learner.weights()  # brings the sampled model up to date
    base = AutoModelForCausalLM.from_pretrained(tiny_model)
    for row, rollout in enumerate(rollouts):
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        with torch.no_grad():
            now, then = (model(ids).logits.log_softmax(-1)[0] for model in (learner.model, base))
        places = torch.arange(len(rollout.tokens))[torch.tensor(rollout.mask)] + len(rollout.prompt.tokens) - 1
        assert found[row] == pytest.approx(float((now.exp() * (now - then)).sum(-1)[places].sum()), rel=1e-3, abs=1e-5)


@on_the_head
def test_a_saved_model_says_truly_whether_its_head_is_its_embedding(
    open_learner: Open, random_groups: RandomGroups, targets: tuple[str, ...], tmp_path: Path
) -> None:
    learner, rollouts = open_learner(lora=Lora(rank=4, targets=targets)), flatten(random_groups())
    learn(learner, rollouts)
    learner.save(tmp_path)
    apart = "lm_head" in targets
    assert json.loads((tmp_path / "config.json").read_text())["tie_word_embeddings"] is not apart
    with safe_open(tmp_path / "model.safetensors", "pt") as stored:
        assert ("lm_head.weight" in stored.keys()) is apart  # noqa: SIM118
    ids = torch.arange(5, 25)[None]
    with torch.no_grad():
        assert torch.equal(AutoModelForCausalLM.from_pretrained(tmp_path)(ids).logits, learner.model(ids).logits)


def test_a_head_that_is_the_embedding_is_stored_once(open_learner: Open, tiny_model: Path, tmp_path: Path) -> None:
    """And the model's file has the names that transformers' own has."""
    open_learner().save(tmp_path)
    names = []
    for directory in (tiny_model, tmp_path):
        with safe_open(directory / "model.safetensors", "pt") as stored:
            names.append(sorted(stored.keys()))
    assert names[0] == names[1]


def test_an_adapter_names_the_model_that_it_belongs_on_also_after_a_continuation(
    open_learner: Open, tiny_model: Path, random_groups: RandomGroups, tmp_path: Path
) -> None:
    lora, rollouts = Lora(rank=2), flatten(random_groups())
    learner = open_learner(lora=lora)
    learn(learner, rollouts, steps=1)
    checkpoint, ends = tmp_path / "checkpoint", [tmp_path / "one", tmp_path / "other"]
    learner.save(checkpoint)
    learner.write(checkpoint)
    again = learner.config.open(checkpoint)
    again.read(checkpoint)
    for one, end in zip((learner, again), ends, strict=True):
        learn(one, rollouts, steps=1)
        one.save(end)
    files = sorted(path.relative_to(ends[0]) for path in ends[0].rglob("*") if path.is_file())
    for name in files:
        assert (ends[0] / name).read_bytes() == (ends[1] / name).read_bytes(), name
    config = json.loads((ends[1] / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(tiny_model)


SAVES = """
import sys
from pathlib import Path
from groupwise.learners import Local
from groupwise.learners.config import Lora
Local(device="cpu", threads=1, lora=Lora(rank=2)).open(sys.argv[1]).save(Path(sys.argv[2]))
"""


def test_adapter_files_are_the_same_whatever_order_sets_have(tiny_model: Path, tmp_path: Path) -> None:
    """This process has an order of its own, by chance; the other one has a stated one."""
    Local(device="cpu", threads=1, lora=Lora(rank=2)).open(tiny_model).save(tmp_path / "here")
    command = [sys.executable, "-c", SAVES, str(tiny_model), str(tmp_path / "there")]
    environment = os.environ | {"PYTHONHASHSEED": "2"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1200, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Could not find a config file" not in done.stderr
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        one, other = ((tmp_path / place / "adapter" / name).read_bytes() for place in ("here", "there"))
        assert one == other, name


def test_what_is_read_back_begins_where_any_tensor_does(tmp_path: Path) -> None:
    """A file's tensors lie at any byte, and matrix products round by where their factors begin."""
    save_state(tmp_path, {"a": torch.zeros(3), "b": torch.arange(7.0), "c": torch.ones(5, 5)})
    state = load_state(tmp_path)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in state.values())
    assert torch.equal(state["b"], torch.arange(7.0))
