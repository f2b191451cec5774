"""Scorers and critics on architectures whose logits are scaled, or for which transformers has no classifier."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForSequenceClassification

from groupwise.learners import Local
from groupwise.learners.new_model import byte_tokenizer
from groupwise.types import Group, flatten

RandomGroups = Callable[..., list[Group]]
SIZES = {
    "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 128, "eos_token_id": 1, "bos_token_id": None,
    "pad_token_id": 0,
}  # fmt: skip
OTHERS: dict[str, dict[str, Any]] = {
    "Cohere": {"logit_scale": 0.25},
    "Granite": {"logits_scaling": 4.0, "embedding_multiplier": 3.0},
    "GraniteMoe": {"num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 4.0},
    "NanoChat": {},
    "Cohere2": {"logit_scale": 0.25, "sliding_window": 9},
    "Qwen3Moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "head_dim": 8},
    "Glm4": {"head_dim": 8},
    "Exaone4": {"head_dim": 8, "sliding_window": None, "layer_types": ["full_attention"] * 2},
    "Olmo2": {},
    "Mamba": {"state_size": 4},
    "Rwkv": {"attention_hidden_size": 32, "context_length": 128},
    "GPTBigCode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 128},
}
SCALED = ("GraniteMoe", "NanoChat")
"""Whose logits are known to be more than a matrix times those states only by trying."""
WITHOUT_CLASS = ("Cohere", "Granite", "GraniteMoe", "NanoChat", "Cohere2", "Mamba", "Rwkv")
WITH_CLASS = ("Olmo2", "Qwen3Moe", "Glm4", "Exaone4")


def saved(kind: str, directory: Path) -> Path:
    model = getattr(transformers, f"{kind}ForCausalLM")(getattr(transformers, f"{kind}Config")(**SIZES | OTHERS[kind]))
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    return directory


@pytest.mark.parametrize("kind", [*WITHOUT_CLASS, *WITH_CLASS])
def test_a_scorer_of_an_architecture_without_a_classifier(
    kind: str, tmp_path: Path, random_groups: RandomGroups
) -> None:
    """Its score is its matrix on transformers' own states, and it comes back as it was saved."""
    learner = Local(device="cpu", threads=1).open_scorer(saved(kind, tmp_path / "m"), seed=1)
    rollouts = flatten(random_groups(groups=2, size=2))
    scores = learner.score(rollouts)
    for row, rollout in zip(scores, rollouts, strict=True):
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        with torch.no_grad():
            hidden = learner.model.base_model(ids, use_cache=False).last_hidden_state
        expected = (hidden @ learner.model.score.weight.T)[0, len(rollout.prompt.tokens) :, 0]
        torch.testing.assert_close(row[: len(expected)], expected * torch.tensor(rollout.mask), atol=1e-5, rtol=1e-4)
    learner.save(tmp_path / "scorer")
    again = Local(device="cpu", threads=1).open_scorer(tmp_path / "scorer")
    torch.testing.assert_close(again.score(rollouts), scores, atol=1e-6, rtol=1e-5)
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scorer")
    assert type(theirs).__name__ == f"{kind}ForSequenceClassification"


@pytest.mark.parametrize("kind", [*OTHERS])
@pytest.mark.parametrize("network", ["head", "own"])
def test_a_critic_reads_the_states_behind_the_logits(
    kind: str, network: Any, tmp_path: Path, random_groups: RandomGroups
) -> None:
    """Also where logits are those states' times more than a matrix; its gradient reaches the trunk of a shared one."""
    learner = Local(device="cpu", threads=1).open(saved(kind, tmp_path / "m"))
    learner.start_stage(reference=None, critic=network)
    critic = learner._critic
    assert critic is not None
    torch.nn.init.normal_(critic.head.weight)
    rollouts = flatten(random_groups(groups=2, size=2))
    for row, rollout in zip(learner.values(rollouts), rollouts, strict=True):
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        with torch.no_grad():
            hidden = learner.model.base_model(ids, use_cache=False).last_hidden_state
            states = hidden[0, len(rollout.prompt.tokens) - 1 : -1]
            expected = critic.head(states)[:, 0] * torch.tensor(rollout.mask)
        torch.testing.assert_close(row[: len(expected)], expected, atol=1e-4, rtol=1e-4)
    values = learner._outputs(rollouts, 1.0, frozenset({"values"})).values
    assert values is not None
    values.sum().backward()
    moved = [p for p in learner.model.base_model.parameters() if p.grad is not None and p.grad.abs().max() > 0]
    assert bool(moved) == (network == "head")
    assert learner._policy.plain_head == (kind not in SCALED)
