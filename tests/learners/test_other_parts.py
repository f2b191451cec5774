"""Checkpoints with a vision tower are trained on text and keep it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM

from groupwise.errors import UserError
from groupwise.learners import Local, Lora
from groupwise.learners.new_model import byte_tokenizer
from groupwise.learners.other_parts import OtherParts
from groupwise.types import Group, flatten

RandomGroups = Callable[..., list[Group]]
TEXT: dict[str, Any] = {
    "vocab_size": 262, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "head_dim": 16, "max_position_embeddings": 128, "pad_token_id": 0, "eos_token_id": 1,
    "bos_token_id": 2,
}  # fmt: skip
LINEAR = {"linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8, "linear_value_head_dim": 8}


def qwen3_5(directory: Path) -> Any:
    """transformers' causal language model of it is its text alone."""
    text = {**TEXT, **LINEAR, "layer_types": ["linear_attention", "full_attention"]}
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "depth": 1, "num_heads": 2, "out_hidden_size": 32, "patch_size": 4,
        "num_position_embeddings": 16,
    }  # fmt: skip
    ids = {"image_token_id": 261, "video_token_id": 260, "vision_start_token_id": 259, "vision_end_token_id": 258}
    config = transformers.Qwen3_5Config(text_config=text, vision_config=vision, **ids)
    return saved(transformers.Qwen3_5ForConditionalGeneration(config), directory)


def gemma3(directory: Path) -> Any:
    """transformers' causal language model of it is all of it."""
    vision = {
        "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 28,
        "patch_size": 14,
    }  # fmt: skip
    ids = {"image_token_index": 261, "boi_token_index": 260, "eoi_token_index": 259, "mm_tokens_per_image": 4}
    config = transformers.Gemma3Config(text_config={**TEXT, "sliding_window": 16}, vision_config=vision, **ids)
    return saved(transformers.Gemma3ForConditionalGeneration(config), directory)


def saved(model: Any, directory: Path) -> Any:
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    (directory / "preprocessor_config.json").write_text('{"image_processor_type": "any"}')
    return model


def trained(directory: Path, rollouts: Any, **options: Any) -> tuple[Any, list[str]]:
    from groupwise.algorithm import Outputs

    notes: list[str] = []
    learner = Local(device="cpu", threads=1, **options).open(directory, notes.append)
    learner.backward(rollouts, 1.0, lambda rows, said: Outputs(torch.ones_like(said.logprobs)))
    learner.step(1.0, 1e-2)
    return learner, notes


@pytest.mark.parametrize("make", [qwen3_5, gemma3])
@pytest.mark.parametrize("options", [{}, {"lora": Lora(rank=2)}, {"dtype": "bfloat16"}])
def test_the_tower_is_as_it_was_and_the_text_is_trained(
    make: Any, options: dict[str, Any], tmp_path: Path, random_groups: RandomGroups
) -> None:
    if "lora" in options:
        pytest.importorskip("peft")
    model = make(tmp_path / "m")
    learner, notes = trained(tmp_path / "m", flatten(random_groups(groups=1, size=2)), **options)
    told = "is left out: text alone is read and trained" if make is qwen3_5 else "stays as it is: text alone is read"
    assert any(f"its vision part {told}" in note for note in notes)
    learner.save(tmp_path / "after")
    again = type(model).from_pretrained(tmp_path / "after", dtype=torch.float32)
    before, after = model.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    tower = [name for name in before if "visual" in name or "vision" in name or "projector" in name]
    assert tower
    for name in tower:
        expected = before[name] if make is qwen3_5 or "dtype" not in options else before[name].bfloat16().float()
        assert torch.equal(after[name], expected), name
    moved = [name for name in before if name not in tower and not torch.equal(after[name], before[name])]
    assert len(moved) > 4
    assert not after["lm_head.weight"].isnan().any()
    ids = torch.arange(3, 40)[None]
    text = AutoModelForCausalLM.from_pretrained(tmp_path / "after", dtype=torch.float32)
    torch.testing.assert_close(text(ids).logits, again(ids).logits, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "after/config.json").read_text())["vision_config"]["hidden_size"] == 16
    if make is qwen3_5:
        assert (tmp_path / "after/preprocessor_config.json").is_file()
    further = Local(device="cpu", threads=1).open(tmp_path / "after")
    further.save(tmp_path / "twice")
    assert type(model).from_pretrained(tmp_path / "twice").state_dict().keys() == before.keys()


def test_a_tower_that_could_not_be_put_back_is_refused(tmp_path: Path, tiny_model: Path) -> None:
    """A text part whose weights have other names than in the whole."""
    qwen3_5(tmp_path / "m")
    other = OtherParts(tmp_path / "m", AutoModelForCausalLM.from_pretrained(tiny_model))
    with pytest.raises(UserError, match=r"m: holds a vision part, which would be lost: .*model\.embed_tokens\.weight"):
        other.refuse_lost("m")
    assert OtherParts(tiny_model, AutoModelForCausalLM.from_pretrained(tiny_model)).in_words() == ""
