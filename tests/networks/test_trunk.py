"""The packed forward pass: hidden states and gradients of transformers' own, sequence by sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from groupwise.kernels import half_blocks, learn
from groupwise.kernels.tile_threads import TileThreads
from groupwise.networks import Blueprint, blueprint_of
from groupwise.networks import stepwise_block as steps_module
from groupwise.networks.attention import packed_attention
from groupwise.networks.packing import Packing
from groupwise.networks.trunk import Trunk

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": None,
}
GEMMA = {"sliding_window": 9, "query_pre_attn_scalar": 16, "attn_implementation": "eager"}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {}),
    "llama, long context": (
        "Llama",
        {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1e4, "factor": 4.0, "low_freq_factor": 1.0,
                             "high_freq_factor": 4.0, "original_max_position_embeddings": 64}},
    ),
    "llama, biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "mistral": ("Mistral", {}),
    "mistral, window": ("Mistral", {"sliding_window": 9}),
    "qwen2": ("Qwen2", {}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True}),
    "gemma": ("Gemma", {}),
    "gemma2": ("Gemma2", GEMMA),
    "gemma3": ("Gemma3Text", GEMMA),
}  # fmt: skip
Sequences = list[tuple[list[int], list[int]]]


@pytest.fixture(autouse=True)
def exact_norms(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers' norms round to float32 even in a float64 model; here they do not."""

    def llama(self: Any, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, self.variance_epsilon)

    def gemma(self: Any, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, 1 + self.weight, self.eps)

    models = transformers.models
    for family in ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"):
        modeling = getattr(getattr(models, family), f"modeling_{family}")
        name = f"{family.capitalize()}RMSNorm"
        monkeypatch.setattr(getattr(modeling, name), "forward", gemma if family.startswith("gemma") else llama)


def make(family: str, dtype: torch.dtype = torch.float64) -> Any:
    name, options = FAMILIES[family]
    torch.manual_seed(4)
    config = getattr(transformers, f"{name}Config")(**(SIZES | options))
    model = getattr(transformers, f"{name.removesuffix('Text')}ForCausalLM")(config).eval()
    draw = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():  # norms and biases too
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=draw))
    return model.to(dtype)


def sequences(seed: int = 0) -> Sequences:
    """Two prompts that several completions share, one of them empty, and one that has its own."""
    draw = torch.Generator().manual_seed(seed)

    def ids(count: int) -> list[int]:
        return torch.randint(61, (count,), generator=draw).tolist()

    made: Sequences = []
    for prompt, completions in ((ids(7), (3, 20, 60, 1)), (ids(30), (0, 11, 33)), (ids(2), (5,))):
        made += [(prompt, ids(count)) for count in completions]
    return made


def parts_of(model: Any) -> Blueprint:
    blueprint = blueprint_of(model)
    assert isinstance(blueprint, Blueprint), blueprint
    return blueprint


def packed(
    model: Any, given: Sequence[tuple[list[int], list[int]]], recompute: bool = False, pool: TileThreads | None = None
) -> Tensor:
    """States from each prompt's last token on, sequence after sequence."""
    blueprint = parts_of(model)
    packing = Packing.of(given)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, again: Any = None) -> Tensor:
        scale, cap = blueprint.attention_scale, blueprint.attention_cap
        return packed_attention(q, k, v, packing, scale, cap, blueprint.layers[layer].window, again, pool)

    hidden = Trunk(blueprint, packing.longest, recompute, pool).hidden(packing.tokens, packing.positions, attend)
    each = zip(given, packing.ends, packing.starts, strict=True)
    return torch.cat([torch.cat((hidden[e : e + 1], hidden[s : s + len(c)])) for (_, c), e, s in each])


def alone(model: Any, given: Sequence[tuple[list[int], list[int]]]) -> Tensor:
    """The same from transformers, one sequence at a time."""
    return torch.cat(
        [
            model.base_model(input_ids=torch.tensor([[*p, *c]]), use_cache=False).last_hidden_state[0, len(p) - 1 :]
            for p, c in given
        ]
    )


def gradients(model: Any, hidden: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    weights = torch.randn(hidden.shape, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    hidden.backward(weights.to(hidden.dtype))
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def alike(ours: dict[str, Tensor], theirs: dict[str, Tensor], tolerance: float) -> None:
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        assert (gradient - theirs[name]).norm() <= tolerance * theirs[name].norm(), name


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_transformers_one_sequence_at_a_time(family: str) -> None:
    """In float64 to 1e-10, but for attention that transformers itself rounds to float32 (Gemma 2 and 3)."""
    model, given = make(family), sequences()
    tolerance = 1e-6 if family in ("gemma2", "gemma3") else 1e-10
    ours, theirs = packed(model, given), alone(model, given)
    assert (ours - theirs).abs().max() <= tolerance * theirs.abs().max()
    alike(gradients(model, ours), gradients(model, theirs), tolerance)


@pytest.mark.parametrize("way", ["whole", "whole, small tiles", "step by step", "torch"])
@pytest.mark.parametrize(
    "family", ["llama", "llama, biases", "mistral, window", "qwen2", "qwen3", "gemma", "gemma2", "gemma3"]
)
def test_float32_equals_float64_to_rounding(family: str, way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A half block in one call, kernel by kernel, and in torch alone."""
    if way.startswith("whole") and not half_blocks.multiply():
        pytest.skip("no MKL, whose matrix products these calls use")
    if way == "whole, small tiles":
        monkeypatch.setattr(half_blocks, "TILE", 7)
    if way == "step by step":
        monkeypatch.setattr(half_blocks, "multiply", lambda: False)
    if way == "torch":
        monkeypatch.setattr(learn, "fits", lambda *_: False)
    given = sequences()
    exact, model = make(family), make(family, torch.float32)
    theirs, ours = packed(exact, given), packed(model, given)
    assert (ours - theirs).abs().max() <= 3e-6 * theirs.abs().max()
    alike(gradients(model, ours), gradients(exact, theirs), 5e-6)


ADAPTED = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def adapt(model: Any, targets: Sequence[str]) -> Any:
    """With adapters of rank 3 that add something, and everything else frozen."""
    from peft import LoraConfig, get_peft_model

    options = LoraConfig(r=3, lora_alpha=6, target_modules=list(targets), task_type="CAUSAL_LM")
    adapted = get_peft_model(model, options).get_base_model().eval()
    draw = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for name, parameter in sorted(adapted.named_parameters()):
            if "lora_" in name:
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=draw))
    return adapted


@pytest.mark.parametrize("targets", [ADAPTED, ("v_proj", "q_proj"), ("down_proj", "up_proj")], ids=len)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("family", ["llama", "qwen2", "qwen3", "gemma3", "llama, biases"])
def test_adapters_get_the_gradient_that_float64_gives(
    family: str, threads: int, targets: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the calls where there are such, and beside layers that compute the one without the other."""
    monkeypatch.setattr(half_blocks, "TILE", 50)
    given = sequences()
    exact, model = adapt(make(family), targets), adapt(make(family, torch.float32), targets)
    expected = packed(exact, given)
    found = packed(model, given, pool=TileThreads(threads))
    ours = gradients(model, found)
    assert (found - expected).abs().max() <= 3e-6 * expected.abs().max()
    theirs = gradients(exact, expected)
    assert all("lora_" in name for name in ours)
    assert len(ours) == 2 * len(targets) * len(model.model.layers)
    alike(ours, theirs, 5e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_computed_in_tiles(family: str) -> None:
    """But where layers beside q, k and v have biases."""
    if not half_blocks.multiply():
        pytest.skip("no MKL, whose matrix products these calls use")
    assert Trunk(parts_of(make(family, torch.float32)), 8).tiled == (family != "llama, biases")


def test_layers_that_learn_learn_beside_their_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    given = sequences()
    exact, model = (adapt(make("qwen2", dtype), ADAPTED).requires_grad_() for dtype in (torch.float64, torch.float32))
    theirs, ours = gradients(exact, packed(exact, given)), gradients(model, packed(model, given))
    assert len(ours) > 2 * len(ADAPTED) * len(model.model.layers)
    alike(ours, theirs, 5e-6)


def test_blocks_with_adapters_are_tiled_where_the_calls_are() -> None:
    parts = parts_of(adapt(make("qwen3", torch.float32), ADAPTED))
    assert Trunk(parts, 8).tiled == half_blocks.multiply()
    assert not Trunk(parts_of(adapt(make("qwen3"), ADAPTED)), 8).tiled


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-10)])
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "gemma3"])
def test_neither_sharing_nor_packing_changes_the_gradient(family: str, dtype: torch.dtype, tolerance: float) -> None:
    """All at once, each by itself, and in two halves that cut through a family."""
    model, given = make(family, dtype), sequences()
    whole = gradients(model, packed(model, given))
    weights = torch.randn(
        len(packed(model, given)), 32, generator=torch.Generator().manual_seed(9), dtype=torch.float64
    )
    for size in (1, 2, 5):
        model.zero_grad()
        start = 0
        for first in range(0, len(given), size):
            part = packed(model, given[first : first + size])
            part.backward(weights[start : start + len(part)].to(dtype))
            start += len(part)
        alike({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, whole, tolerance)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("family", ["qwen3", "llama, biases", "gemma2"])
def test_computing_blocks_again_changes_no_bit(family: str, dtype: torch.dtype) -> None:
    model, given = make(family, dtype), sequences()
    kept, again = (gradients(model, packed(model, given, recompute)) for recompute in (False, True))
    assert all(torch.equal(kept[name], again[name]) for name in kept)


@pytest.mark.parametrize("family", ["qwen3", "llama, biases", "gemma3"])
def test_the_same_without_gradient(family: str) -> None:
    model, given = make(family, torch.float32), sequences()
    with torch.no_grad():
        without = packed(model, given)
    assert torch.equal(packed(model, given).detach(), without)


@pytest.mark.parametrize("family", ["qwen3", "llama, biases", "gemma3"])
def test_states_that_nobody_reads_change_nothing(family: str) -> None:
    model, packing, read = make(family), Packing.of(sequences()), torch.tensor([3, 20, 21, 90])
    blueprint = parts_of(model)

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor, again: Any = None) -> Tensor:
        return packed_attention(q, k, v, packing, blueprint.attention_scale, 0.0, blueprint.layers[layer].window)

    trunk = Trunk(blueprint, packing.longest)
    every = trunk.hidden(packing.tokens, packing.positions, attend)[read]
    some = trunk.hidden(packing.tokens, packing.positions, attend, read)
    torch.testing.assert_close(some, every, rtol=1e-12, atol=1e-12)
    alike(gradients(model, some), gradients(model, every), 1e-12)


@pytest.mark.parametrize("tile", [1, 10, 1000])
def test_tiles_change_nothing(tile: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model, given = make("qwen2"), sequences()
    expected = gradients(model, packed(model, given))
    monkeypatch.setattr(steps_module, "TILE", tile)
    alike(gradients(model, packed(model, given)), expected, 1e-12)


def test_half_precision_stays_near() -> None:
    given = sequences()
    exact, rounded = (make("qwen3", dtype) for dtype in (torch.float64, torch.bfloat16))
    ours, theirs = packed(rounded, given), packed(exact, given)
    assert ours.dtype == torch.bfloat16
    assert (ours - theirs).norm() <= 0.05 * theirs.norm()
    alike(gradients(rounded, ours), gradients(exact, theirs), 0.1)


@pytest.mark.skipif(not half_blocks.multiplies_half(), reason="no bfloat16 instructions")
@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize(("family", "most"), [("qwen3", 0.018), ("qwen2", 0.045), ("gemma3", 0.012)])
def test_products_of_rounded_pairs_are_nearer_than_rounded_products(family: str, most: float, adapted: bool) -> None:
    """Of gradients, as a share of those in float64 with the same weights; where products were rounded too, 0.021 to
    0.024, 0.047 to 0.049 and 0.013 to 0.015."""
    given = sequences()
    rounded, exact = (make(family, dtype) for dtype in (torch.bfloat16, torch.float64))
    if adapted:
        rounded, exact = (adapt(model, ADAPTED).requires_grad_() for model in (rounded, exact))
    exact.load_state_dict({name: value.double() for name, value in rounded.state_dict().items()})
    found, expected = (gradients(model, packed(model, given)) for model in (rounded, exact))
    off = sum(float((found[name].double() - value).square().sum()) for name, value in expected.items())
    assert (off / sum(float(value.square().sum()) for value in expected.values())) ** 0.5 < most


@pytest.mark.parametrize("adapted", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("family", ["qwen3", "qwen2", "gemma3"])
def test_the_number_of_lanes_changes_no_bit(
    family: str, dtype: torch.dtype, adapted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does who of them computes which tile, which is never the same twice."""
    monkeypatch.setattr(steps_module, "TILE", 20)
    monkeypatch.setattr(half_blocks, "TILE", 9)
    model, given = make(family, dtype), sequences()
    if adapted:
        model = adapt(model, ADAPTED).requires_grad_()
    expected = gradients(model, packed(model, given))
    for count in (1, 2, 2, 3, 8):
        found = gradients(model, packed(model, given, pool=TileThreads(count)))
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_padding_token_learns_what_it_learns_in_transformers(family: str) -> None:
    """Nothing by its embedding. Every id stands in a completion and, but for some, in a prompt."""
    name, options = FAMILIES[family]
    config = getattr(transformers, f"{name}Config")(**(SIZES | options | {"pad_token_id": 0}))
    plain = make(family)
    model = type(plain)(config).eval().double()
    model.load_state_dict(plain.state_dict())
    ids = list(range(61))
    given = [(ids[:20], ids), (ids[20:], ids[::-1]), ([0], [0, 0, 5])]
    theirs = gradients(model, alone(model, given))
    alike(gradients(model, packed(model, given)), theirs, 1e-6 if family in ("gemma2", "gemma3") else 1e-10)
    embedding = theirs["model.embed_tokens.weight"].norm(dim=1)
    assert embedding[0] == 0
    assert (embedding[1:] > 0).all()
