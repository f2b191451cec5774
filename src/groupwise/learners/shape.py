"""This module reads how large a model is without loading it: made of meta tensors, which have shapes and no memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.learners.model_config import config_of
from groupwise.learners.safe_files import one_line
from groupwise.learners.source import fetched


@dataclass(frozen=True)
class Shape:
    """This shape is what a plan asks of a model: its sizes, in numbers and bytes."""

    parameters: int
    block: int
    """Of the largest block."""
    outside: int
    """Of what is outside of blocks: embedding, head and last norm."""
    width: int
    middle: int
    blocks: int
    vocabulary: int
    kv_width: int
    """Keys and values of a token in one block."""
    idle: int = 0
    """Of experts that a token is not sent to."""
    heads: int = 0
    """Of attention; 0: not known."""

    @property
    def active(self) -> int:
        """Parameters that compute a token."""
        return self.parameters - self.idle

    @staticmethod
    def of(config: Any) -> Shape:
        """Counts them on a model without memory. ``config``: of transformers. Raises UserError for a model without
        attention heads."""
        import torch
        from torch import nn
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        text, numbers = config.get_text_config(), config.get_text_config().to_dict()
        found = {id(each): each.numel() for each in model.parameters()}
        lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
        units = max(([_numel(layer) for layer in each] for each in lists), key=sum, default=[])
        heads = getattr(text, "num_attention_heads", None)
        if not heads:
            raise UserError(
                f"architecture {config.model_type}: has no attention heads to reckon with; expected a transformer, "
                "such as llama, qwen3 or gpt2"
            )
        groups = getattr(text, "num_key_value_heads", None) or heads
        size = getattr(text, "head_dim", None) or text.hidden_size // heads
        return Shape(
            sum(found.values()),
            max(units, default=0),
            sum(found.values()) - sum(units),
            text.hidden_size,
            _middle(numbers, 4 * text.hidden_size),
            text.num_hidden_layers,
            text.vocab_size,
            2 * groups * size,
            round(sum(p.numel() for name, p in model.named_parameters() if ".experts." in name) * _idle_share(numbers)),
            heads,
        )


EXPERTS, CHOSEN = ("num_experts", "num_local_experts", "n_routed_experts"), ("num_experts_per_tok", "experts_per_token")
"""What configurations call the number of experts, and of those that a token is sent to."""


def _numel(module: Any) -> int:
    return sum({id(each): each.numel() for each in module.parameters()}.values())


def _first(numbers: Mapping[str, Any], names: Sequence[str]) -> int:
    """The first of these numbers that a configuration has; 0: none. Of numbers for each layer the largest."""
    found = next((numbers[name] for name in names if numbers.get(name)), 0)
    return int(max(found) if isinstance(found, list | tuple) else found)


def _idle_share(numbers: Mapping[str, Any]) -> float:
    experts, chosen = _first(numbers, EXPERTS), _first(numbers, CHOSEN)
    return 1 - min(chosen, experts) / experts if experts and chosen else 0.0


def _middle(numbers: Mapping[str, Any], otherwise: int) -> int:
    """How wide the feed-forward of a token is: of all experts that it is sent to."""
    whole = _first(numbers, ("intermediate_size", "n_inner", "ffn_dim")) or otherwise
    if not _idle_share(numbers):
        return whole
    own = _first(numbers, ("moe_intermediate_size",)) or whole
    shared = _first(numbers, ("shared_expert_intermediate_size",)) or own * _first(numbers, ("n_shared_experts",))
    return own * _first(numbers, CHOSEN) + shared


def shape_of(source: Path | str) -> Shape:
    """The shape of the model in a directory or of a hub name, of which only the configuration is read. Raises UserError
    where there is none."""
    name, how = fetched(source)
    with one_line(f"{source}: no configuration of a model to reckon with"):
        return Shape.of(config_of(source, name, how))
