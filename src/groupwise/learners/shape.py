"""This module reads how large a model is without loading it: made of meta tensors, which have shapes and no memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groupwise.errors import UserError


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

    @staticmethod
    def of(config: Any) -> Shape:
        """Counts them on a model without memory. ``config``: of transformers."""
        import torch
        from transformers import AutoModelForCausalLM

        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        text = config.get_text_config()
        found = {id(each): each.numel() for each in model.parameters()}
        layers = [module for name, module in model.named_modules() if name.rpartition(".")[0].endswith("layers")]
        units = [sum({id(each): each.numel() for each in layer.parameters()}.values()) for layer in layers]
        outside = sum(found.values()) - sum(units)
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        size = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        middle = text.to_dict().get("intermediate_size") or 4 * text.hidden_size
        return Shape(
            sum(found.values()),
            max(units, default=0),
            outside,
            text.hidden_size,
            max(middle) if isinstance(middle, list | tuple) else middle,
            text.num_hidden_layers,
            text.vocab_size,
            2 * heads * size,
        )


def shape_of(source: Path | str) -> Shape:
    """The shape of the model in a directory or of a hub name, of which only the configuration is read. Raises UserError
    where there is none."""
    from transformers import AutoConfig

    try:
        return Shape.of(AutoConfig.from_pretrained(source))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{source}: no configuration of a model to reckon with: {str(error).splitlines()[0]}"
        ) from error
