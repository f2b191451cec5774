"""Log-probabilities: those of transformers' own logits, however they are computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from groupwise.algorithm import Outputs
from groupwise.learners import logprobs as module
from groupwise.learners.logprobs import LanguageModel, token_outputs
from groupwise.learners.micro_batch import MicroBatch
from groupwise.types import Group, Rollout, flatten

RandomGroups = Callable[..., list[Group]]
SIZES = {
    "vocab_size": 61,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
ODD_HEADS: dict[str, dict[str, Any]] = {
    "Gemma2": {"head_dim": 8, "query_pre_attn_scalar": 8, "final_logit_softcapping": 3.0, "initializer_range": 0.3},
    "Cohere": {"logit_scale": 0.25, "initializer_range": 0.3},
    "Granite": {"logits_scaling": 4.0, "initializer_range": 0.3},
}


def make(family: str, seed: int = 5, **options: Any) -> Any:
    torch.manual_seed(seed)
    config = getattr(transformers, f"{family}Config")(**(SIZES | options))
    return getattr(transformers, f"{family}ForCausalLM")(config).eval().double()


def read(model: Any, rollouts: Sequence[Rollout], temperature: float, **options: Any) -> Outputs:
    micro_batch = MicroBatch.of(rollouts, "cpu")
    reference = options.pop("reference", None)
    if reference is not None:
        with torch.no_grad():
            options["reference"] = LanguageModel(reference)(micro_batch)
    return token_outputs(LanguageModel(model)(micro_batch), micro_batch, temperature, **options)


def by_hand(model: Any, rollout: Rollout, temperature: float) -> tuple[Tensor, Tensor]:
    """``[T]`` log-probabilities and entropies of one rollout, alone, from the model's own logits."""
    start = len(rollout.prompt.tokens)
    ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
    table = (model(ids).logits[0, start - 1 : -1] / temperature).log_softmax(-1)
    mask = torch.tensor(rollout.mask)
    chosen = table.gather(1, torch.tensor(rollout.tokens)[:, None])[:, 0]
    return torch.where(mask, chosen, 0.0), torch.where(mask, -(table.exp() * table).sum(-1), 0.0)


def check(model: Any, rollouts: Sequence[Rollout], temperature: float, tolerance: float = 1e-10) -> None:
    outputs = read(model, rollouts, temperature)
    logprobs, entropy = outputs.logprobs, outputs.entropy
    assert entropy is not None
    assert logprobs.shape == (len(rollouts), max(len(rollout.tokens) for rollout in rollouts))
    for row, rollout in enumerate(rollouts):
        length = len(rollout.tokens)
        for found, expected in zip((logprobs, entropy), by_hand(model, rollout, temperature), strict=True):
            torch.testing.assert_close(found[row, :length], expected, atol=tolerance, rtol=tolerance)
            assert not found[row, length:].any()


@pytest.mark.parametrize("temperature", [1.0, 0.6])
def test_equals_transformers_logits(random_groups: RandomGroups, temperature: float) -> None:
    """Padded together or alone, with masked tokens between: 0 there, and the same numbers elsewhere."""
    rollouts = flatten(random_groups(vocabulary=61))
    assert any(not all(rollout.mask) for rollout in rollouts)
    model = make("Qwen3", head_dim=8, initializer_range=0.3)
    assert LanguageModel(model).plain_head
    check(model, rollouts, temperature)


@pytest.mark.parametrize("family", ODD_HEADS)
def test_scaled_and_capped_logits_are_noticed(random_groups: RandomGroups, family: str) -> None:
    """Known by its parts, or by the model's own logits."""
    model = make(family, **ODD_HEADS[family])
    read = LanguageModel(model)
    assert read.plain_head
    assert bool(read.cap) == (family == "Gemma2")
    assert (read.scale != 1) == (family != "Gemma2")
    check(model, flatten(random_groups(vocabulary=61)), 1.0, tolerance=1e-6)  # parts of Gemma2 are float32 always


def test_a_cap_that_does_not_bite_yet_is_noticed(random_groups: RandomGroups) -> None:
    """A fresh model's small logits pass through a cap almost unchanged; those of a trained one will not."""
    model = make("Gemma2", head_dim=8, query_pre_attn_scalar=8, final_logit_softcapping=30.0, initializer_range=0.01)
    policy = LanguageModel(model)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(1000)
    rollout = flatten(random_groups(vocabulary=61))[0]
    micro_batch = MicroBatch.of([rollout], "cpu")
    found = token_outputs(policy(micro_batch), micro_batch, 1.0).logprobs
    torch.testing.assert_close(found[0], by_hand(model, rollout, 1.0)[0], atol=1e-7, rtol=1e-7)


def test_probing_the_head_leaves_the_model_alone(random_groups: RandomGroups) -> None:
    model = make("Qwen3", head_dim=8)
    tokens = torch.arange(9)[None]
    before, weights = model(tokens).logits, {name: value.clone() for name, value in model.state_dict().items()}
    LanguageModel(model)
    assert torch.equal(model(tokens).logits, before)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def coefficients(like: Tensor) -> Tensor:
    """``[B, T]`` a number of its own for every token."""
    return torch.linspace(-1, 2, like.numel(), dtype=like.dtype).view_as(like)


def gradients(model: Any, objective: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    objective.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def narrowed(rollouts: Sequence[Rollout], vocabulary: int = 61) -> list[Rollout]:
    """Every second rollout keeps, for each sampled token, that token and those of a random third of the vocabulary."""
    draw = torch.Generator().manual_seed(2)
    result = []
    for number, rollout in enumerate(rollouts):
        chosen = [torch.randperm(vocabulary, generator=draw)[: vocabulary // 3].tolist() for _ in rollout.tokens]
        support = [
            tuple(sorted({token, *ids})) if sampled else ()
            for token, ids, sampled in zip(rollout.tokens, chosen, rollout.mask, strict=True)
        ]
        result.append(replace(rollout, support=tuple(support)) if number % 2 else rollout)
    return result


def whole_tables(model: Any, rollouts: Sequence[Rollout], temperature: float) -> Iterator[tuple[int, int, int, Tensor]]:
    """Row, place, token and the ``[kept]`` log-probabilities of what it was drawn from, its own first; one softmax over
    the ids that were kept and nothing else."""
    for row, rollout in enumerate(rollouts):
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        logits = model(ids).logits[0, len(rollout.prompt.tokens) - 1 : -1] / temperature
        for place, (token, sampled) in enumerate(zip(rollout.tokens, rollout.mask, strict=True)):
            kept = rollout.support[place] if rollout.support else range(logits.shape[1])
            if sampled:
                order = [token, *(other for other in kept if other != token)]
                yield row, place, token, logits[place, order].log_softmax(-1)


@pytest.mark.parametrize("family", ["Qwen3", "Cohere"])
@pytest.mark.parametrize("chunk", [2**26, 61 * 4, 1], ids=["all at once", "four tokens", "one token"])
@pytest.mark.parametrize("keep", [list, narrowed], ids=["whole vocabulary", "kept support"])
def test_every_output_and_its_gradient_equal_a_full_softmax(
    random_groups: RandomGroups, monkeypatch: pytest.MonkeyPatch, family: str, chunk: int, keep: Any
) -> None:
    """Log-probabilities, entropy and exact KL, token by token from transformers' logits, whatever the chunk."""
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", chunk)
    rollouts = keep(flatten(random_groups(vocabulary=61, groups=2)))
    tolerance = 1e-10 if family == "Qwen3" else 1e-6  # parts of Cohere are float32 always
    options = {"head_dim": 8, "initializer_range": 0.3} if family == "Qwen3" else ODD_HEADS[family]
    model, reference = make(family, **options), make(family, seed=6, **options)
    found = read(model, rollouts, 0.8, reference=reference, entropy_gradient=True)
    assert found.entropy is not None
    assert found.exact_kl is not None
    expected = [torch.zeros_like(found.logprobs) for _ in range(3)]
    tables = zip(whole_tables(model, rollouts, 0.8), whole_tables(reference, rollouts, 0.8), strict=True)
    for (row, place, _, table), (_, _, _, other) in tables:
        p = table.exp()
        numbers = table[0], -(p * table).sum(), (p * (table - other.detach())).sum()
        for tensor, number in zip(expected, numbers, strict=True):
            tensor[row, place] = number
    outputs = (found.logprobs, found.entropy, found.exact_kl)
    for output, by_definition in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, by_definition, atol=tolerance, rtol=tolerance)
    ours = gradients(model, sum((coefficients(x) * (n + 1) * x).sum() for n, x in enumerate(outputs)))  # type: ignore[arg-type]
    theirs = gradients(model, sum((coefficients(x) * (n + 1) * x).sum() for n, x in enumerate(expected)))  # type: ignore[arg-type]
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=tolerance, rtol=100 * tolerance, msg=name)


def test_exact_kl_equals_enumeration(random_groups: RandomGroups) -> None:
    """Every token of the vocabulary in turn as the sampled one: Σ_v π(v) (log π(v) - log π_ref(v))."""
    rollout = flatten(random_groups(vocabulary=61))[0]
    model, reference = (make("Qwen3", head_dim=8, initializer_range=0.3, seed=seed) for seed in (5, 6))
    last = len(rollout.tokens) - 1
    every = [replace(rollout, tokens=(*rollout.tokens[:-1], token)) for token in range(61)]
    ours, theirs = (read(network, every, 1.0).logprobs[:, last].detach() for network in (model, reference))
    exact = read(model, [rollout], 1.0, reference=reference).exact_kl
    assert exact is not None
    assert float(ours.exp().sum()) == pytest.approx(1)
    assert exact[0, last].item() == pytest.approx(float((ours.exp() * (ours - theirs)).sum()), abs=1e-12)
    assert exact[0, last] > 0.01


def test_exact_kl_to_itself_is_zero(random_groups: RandomGroups) -> None:
    model = make("Qwen3", head_dim=8, initializer_range=0.3)
    exact = read(model, flatten(random_groups(vocabulary=61)), 1.0, reference=model).exact_kl
    assert exact is not None
    assert not exact.any()


def test_logits_of_all_tokens_never_exist_at_once(random_groups: RandomGroups, monkeypatch: pytest.MonkeyPatch) -> None:
    """Policy's and reference's, in the forward pass and when the backward pass computes them again."""
    monkeypatch.setattr(module, "CHUNK_ELEMENTS", 61 * 4)
    model, reference = make("Qwen3", head_dim=8), make("Qwen3", head_dim=8, seed=6)
    seen: list[int] = []
    for network in (model, reference):
        network.lm_head.register_forward_hook(lambda layer, inputs, logits: seen.append(logits.numel() // 61))
    rollouts = flatten(random_groups(vocabulary=61))
    micro_batch = MicroBatch.of(rollouts, "cpu")
    policy, other = LanguageModel(model), LanguageModel(reference)
    seen.clear()
    found = token_outputs(policy(micro_batch), micro_batch, 1.0, other(micro_batch), entropy_gradient=True)
    assert found.entropy is not None
    assert found.exact_kl is not None
    (found.logprobs + found.entropy + found.exact_kl).sum().backward()
    assert max(seen) == 4
    assert sum(seen) == 4 * len(micro_batch.targets)  # two networks, forward and again


def test_what_nobody_asked_for_costs_nothing(random_groups: RandomGroups) -> None:
    """Entropy is a metric unless it is to carry a gradient; exact KL is not there at all."""
    outputs = read(make("Qwen3", head_dim=8), flatten(random_groups(vocabulary=61)), 1.0)
    assert outputs.logprobs.requires_grad
    assert outputs.entropy is not None
    assert not outputs.entropy.requires_grad
    assert outputs.values is None
    assert outputs.exact_kl is None


def test_a_reference_of_another_width(random_groups: RandomGroups) -> None:
    rollouts = flatten(random_groups(vocabulary=61))
    model, teacher = make("Qwen3", head_dim=8), make("Llama", hidden_size=24)
    exact = read(model, rollouts, 1.0, reference=teacher).exact_kl
    assert exact is not None
    assert (exact[0, : len(rollouts[0].tokens)] > 0).any()


def test_one_kept_token_is_certain(random_groups: RandomGroups) -> None:
    """Probability 1, entropy 0, and nothing to learn; no NaN from all the zeros beside it."""
    rollout = flatten(random_groups(vocabulary=61))[0]
    certain = replace(rollout, support=tuple((token,) for token in rollout.tokens))
    model, reference = (make("Qwen3", head_dim=8, initializer_range=0.3, seed=seed) for seed in (5, 6))
    found = read(model, [certain], 1.0, reference=reference, entropy_gradient=True)
    assert found.entropy is not None
    assert found.exact_kl is not None
    for output in (found.logprobs, found.entropy, found.exact_kl):
        assert not output.any()
    objective = (found.logprobs + found.entropy + found.exact_kl).sum()
    assert all(not gradient.any() for gradient in gradients(model, objective).values())


def test_half_precision_logits_are_normalised_in_float32(random_groups: RandomGroups) -> None:
    model = make("Qwen3", head_dim=8, initializer_range=0.3).bfloat16()
    logprobs = read(model, flatten(random_groups(vocabulary=61)), 1.0).logprobs
    assert logprobs.dtype == torch.float32
    assert (logprobs <= 0).all()


@pytest.mark.parametrize("family", ["Qwen3", "Cohere"])  # packed, and padded
def test_sequences_of_one_episode_are_those_of_separate_ones(family: str, make_rollout: Callable[..., Rollout]) -> None:
    """Log-probabilities and gradient alike."""
    mask = [True, True, False, False, True, False, True, False, True]
    whole = replace(make_rollout([5, 6], [7, 8, 11, 12, 3, 9, 4, 13, 14], mask), restarts=(2, 7))
    parts = [
        make_rollout([5, 6], [7, 8]),
        make_rollout([11, 12], [3, 9, 4], [True, False, True]),
        make_rollout([13], [14]),
    ]
    found, gradients = [], []
    for rollouts in ([whole], parts):
        model = make(family, **ODD_HEADS.get(family, {}))
        said = read(model, rollouts, 0.7).logprobs
        (said**2).sum().backward()
        found.append(said[said != 0])
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert torch.allclose(found[0], found[1], atol=1e-12, rtol=0)
    assert len(found[0]) == 5
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, atol=1e-10, rtol=0)
