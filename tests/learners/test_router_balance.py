"""The routers' auxiliary loss has transformers' gradient, where a model's config asks for it and nowhere else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from groupwise.algorithm import Outputs
from groupwise.learners import Local
from groupwise.learners.logprobs import LanguageModel
from groupwise.learners.micro_batch import MicroBatch
from groupwise.learners.new_model import byte_tokenizer
from groupwise.learners.router_balance import RouterBalance, balance_of, packed_weights, padded_weights
from groupwise.types import Example, Prompt, Rollout

SIZES: dict[str, Any] = {
    "vocab_size": 261, "hidden_size": 32, "intermediate_size": 48, "moe_intermediate_size": 24, "num_hidden_layers": 3,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": 64,
    "num_experts_per_tok": 2, "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
KINDS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen3_moe": {"num_experts": 6, "mlp_only_layers": [1]},
    "gpt_oss": {"num_local_experts": 4, "rope_parameters": {"rope_type": "default", "rope_theta": 1e4}},
    "olmoe": {"num_experts": 4},  # through transformers' own forward pass
}
ASKED = {"output_router_logits": True, "router_aux_loss_coef": 0.3}
ROWS = [((5, 6, 7), (8, 9, 10, 11)), ((5, 6, 7), (12, 13)), ((20, 21), (22, 23, 24))]
"""The second has the first one's prompt."""


def model_of(kind: str, **options: Any) -> Any:
    torch.manual_seed(3)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **{**SIZES, **KINDS[kind], **options})).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate.weight", "router.weight")):
                parameter.normal_()
    return model


def rollouts() -> list[Rollout]:
    return [
        Rollout(Prompt(Example("row", ""), prompt), tokens, (True,) * len(tokens), (-1.0,) * len(tokens), "", True, 0)
        for prompt, tokens in ROWS
    ]


def transformers_gradient(model: Any) -> dict[str, Tensor]:
    """Of its loss on all tokens that a log-probability depends on: those but each row's last."""
    rows = [(*prompt, *tokens[:-1]) for prompt, tokens in ROWS]
    ids = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(row) for row in rows])[:, None]
    said = model(input_ids=ids, attention_mask=mask.long(), output_router_logits=True, use_cache=False)
    (0.3 * said.aux_loss).backward()
    return gradients(model)


def gradients(model: Any) -> dict[str, Tensor]:
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    model.zero_grad()
    return found


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor], scale: float = 1.0) -> None:
    assert ours.keys() == theirs.keys() != set()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], scale * gradient, rtol=2e-3, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    ("kind", "recompute"), [*((kind, False) for kind in KINDS), ("mixtral", True), ("gpt_oss", True)]
)
def test_its_gradient_is_that_of_transformers(kind: str, recompute: bool) -> None:
    model = model_of(kind, **ASKED)
    expected = transformers_gradient(model)
    policy = LanguageModel(model, recompute, balance=balance_of(model))
    assert isinstance(policy.balance, RouterBalance)
    policy(MicroBatch.of(rollouts(), "cpu"))
    loss = policy.balance.taken(1.0, 1.0)
    assert loss is not None
    loss.backward()
    agree(gradients(model), expected)


def test_a_step_divides_it_once_and_reports_it(tmp_path: Path) -> None:
    """The gradient of a batch is divided by its count at the step, and the loss is a mean already."""
    model = model_of("mixtral", **ASKED)
    model.save_pretrained(tmp_path)
    byte_tokenizer().save_pretrained(tmp_path)
    expected = transformers_gradient(model)
    learner = Local(device="cpu", threads=1).open(tmp_path)

    def nothing(rows: Any, said: Outputs) -> Outputs:
        return Outputs(torch.zeros_like(said.logprobs))

    learner.backward(rollouts(), 1.0, nothing, count=7.0)
    agree(gradients(learner.model), expected, scale=7.0)
    learner.backward(rollouts(), 1.0, nothing, count=7.0)
    metrics = learner.step(7.0, 0.0)
    assert metrics["router_aux_loss"] == pytest.approx(2.0, rel=0.5)  # 2 experts of each token: 2 where all are equal
    assert metrics["grad_norm"] == pytest.approx(
        float(torch.cat([g.flatten() for g in expected.values()]).norm()), rel=1e-3
    )
    assert "router_aux_loss" not in learner.step(1.0, 0.0)


def test_tokens_weigh_what_they_stand_for() -> None:
    micro_batch = MicroBatch.of(rollouts(), "cpu")
    assert packed_weights(micro_batch.packing).tolist() == [[2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1]]
    assert padded_weights(micro_batch).tolist() == [[1, 1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0]]


def test_it_is_left_out_where_the_config_does_not_ask_and_named_where_it_cannot_be_had() -> None:
    notes = list[str]()
    assert balance_of(model_of("mixtral"), notes.append) is None
    assert balance_of(model_of("mixtral", output_router_logits=True, router_aux_loss_coef=0.0), notes.append) is None
    assert not notes
    config = AutoConfig.for_model("llama", **SIZES, **ASKED)
    assert balance_of(AutoModelForCausalLM.from_config(config), notes.append) is None
    assert "transformers has none for llama: it is left out" in notes[0]


def test_experts_learn_in_doubles_too(tmp_path: Path) -> None:
    """transformers' fast ways with experts take no doubles, and its plain one does."""
    for kind in ("mixtral", "gpt_oss"):
        directory = tmp_path / kind
        model_of(kind).save_pretrained(directory)
        byte_tokenizer().save_pretrained(directory)
        exact, rounded = (
            Local(device="cpu", threads=1, dtype=dtype).open(directory) for dtype in ("float64", "float32")
        )
        found = exact.logprobs(rollouts(), 1.0)
        assert found.dtype == torch.float64
        torch.testing.assert_close(rounded.logprobs(rollouts(), 1.0).double(), found, rtol=0, atol=2e-5)
