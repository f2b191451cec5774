"""TRL's own lines: GRPOTrainer with a tiny model whose log-probabilities are replaced by ours, leaf tensors.

``_generate_and_score_completions`` makes masks, advantages and sampler correction, ``_compute_loss`` the loss; what is
replaced is generation, rewards and the forward pass.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from datasets import Dataset
from draws import Draw, Found
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.utils.logging import disable_progress_bar
from trl import GRPOConfig, GRPOTrainer
from trl.experimental.sdft.loss_utils import compute_sampled_token_self_distillation_loss
from trl.trainer.utils import split_tensor_dict

END, WORD, PROMPT = 1, 2, 3


class Trainer(GRPOTrainer):
    """The three things a model and a sampler would say, said by a draw."""

    draw: Draw
    leaf: Tensor
    entropy: Tensor
    part: slice
    """The rows of the micro-batch whose loss is computed."""

    def _generate(self, prompts: list[str]) -> tuple[Any, ...]:
        draw, rows = self.draw, range(len(prompts))
        last = [END if draw.finished[row] else WORD for row in rows]
        completions = [[WORD] * (length - 1) + [end] for length, end in zip(draw.lengths, last, strict=True)]
        behavior = [draw.behavior[row, :length].tolist() for row, length in zip(rows, draw.lengths, strict=True)]
        return [[PROMPT]] * len(prompts), completions, None, ["x"] * len(prompts), behavior, {}, None, None

    def _calculate_rewards(self, *_: Any) -> Tensor:
        return self.draw.rewards[:, None]

    def _get_per_token_logps_and_entropies(self, model: Any, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        if model is self.ref_model:
            return self.draw.reference, self.entropy, None
        if torch.is_grad_enabled():
            return self.leaf[self.part], self.entropy[self.part], None
        return self.draw.old, self.entropy, None


def trl(draw: Draw, sampler: bool = False, updates: int = 1, accumulation: int = 1, **options: Any) -> Found:
    """``sampler``: as with use_vllm=True, whose log-probabilities are ``draw.behavior``. ``options`` of GRPOConfig.

    ``updates`` a draw, each of ``accumulation`` micro-batches. π_old is the draw's because num_iterations=2 makes TRL
    keep it; with num_iterations=1 and one update TRL takes the policy itself.
    """
    torch.set_default_dtype(torch.float64)
    trainer = _trainer(draw, updates, accumulation, options)
    trainer.draw = draw
    trainer.leaf = draw.logprobs.clone().requires_grad_()
    trainer.entropy = draw.entropy.clone().requires_grad_()
    trainer.use_vllm = sampler
    trainer.current_gradient_accumulation_steps = accumulation
    trainer.model.train()
    inputs = trainer._generate_and_score_completions([{"prompt": "p"}] * len(draw.rewards))
    loss = torch.zeros(())
    chunks = split_tensor_dict(inputs, updates * accumulation)
    for trainer.part, chunk in zip(draw.parts(updates * accumulation), chunks, strict=True):
        loss = loss + trainer._compute_loss(trainer.model, chunk)
    torch.set_default_dtype(torch.float32)
    gradient, entropy = torch.autograd.grad(loss, (trainer.leaf, trainer.entropy), allow_unused=True)
    return Found(loss.item(), gradient, inputs["advantages"][:, None] * draw.mask, entropy=entropy)


def sdft(draw: Draw) -> Found:
    """SDFTTrainer's loss in its mode sampled_token, and the mean that it takes; the teacher is the draw's reference.

    It reads logits: of two words here, the one that was drawn and the other.
    """
    leaf, ids = draw.logprobs.clone().requires_grad_(), torch.zeros_like(draw.mask, dtype=torch.long)
    student, teacher = _logits(leaf), _logits(draw.reference)
    terms = compute_sampled_token_self_distillation_loss(student, teacher, ids, distillation_alpha=1.0)
    terms = torch.where(draw.mask, terms, 0.0)
    loss = (terms.sum(-1) / draw.mask.sum(-1).clamp(min=1.0)).mean()
    gap = torch.where(draw.mask, draw.reference - draw.logprobs, 0.0)
    return Found(loss.item(), torch.autograd.grad(loss, leaf)[0], gap)


def _logits(logprobs: Tensor) -> Tensor:
    """Of a word with this log-probability, and of another; masked places have any."""
    known = torch.where(logprobs < 0, logprobs, -1.0)
    return torch.stack([known, torch.log(-torch.expm1(known))], dim=-1)


def _trainer(draw: Draw, updates: int, accumulation: int, options: dict[str, Any]) -> Trainer:
    words = Tokenizer(WordLevel({"<pad>": 0, "<end>": END, "x": WORD, "p": PROMPT}, unk_token="x"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>", unk_token="x")
    rows = len(draw.rewards)
    config = GRPOConfig(
        output_dir=str(Path(_place().name) / "out"), use_cpu=True, bf16=False, report_to="none",
        per_device_train_batch_size=rows // (updates * accumulation), gradient_accumulation_steps=accumulation,
        steps_per_generation=updates * accumulation, num_generations=draw.group_size,
        **({"num_iterations": 2} | options),
    )  # fmt: skip
    return Trainer(
        model=str(Path(_place().name) / "model"),
        reward_funcs=lambda **_: [0.0],
        args=config,
        train_dataset=Dataset.from_dict({"prompt": ["p"] * rows}),
        processing_class=tokenizer,
    )


@cache
def _place() -> TemporaryDirectory[str]:
    """With a model in it that is never asked anything."""
    disable_progress_bar()
    place: TemporaryDirectory[str] = TemporaryDirectory()
    tiny = Qwen2Config(
        vocab_size=4, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1,
        num_key_value_heads=1, eos_token_id=END, pad_token_id=0,
    )  # fmt: skip
    Qwen2ForCausalLM(tiny).save_pretrained(Path(place.name) / "model")
    return place
