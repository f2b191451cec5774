"""A small model and its tokenizer made from a config: real transformers classes, random weights, any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

from groupwise.learners.loading import quiet_transformers

CHAT_TEMPLATE = (
    "{% if tools %}<|system|>{% for tool in tools %}{% set function = tool['function'] or tool %}"
    "{% set parameters = (function['parameters'] or {})['properties'] or {} %}{{ function['name'] }}("
    "{% for name in parameters %}{{ name }}: {{ parameters[name]['type'] or 'any' }}"
    "{% if not loop.last %}, {% endif %}{% endfor %})\n{% endfor %}{% endif %}"
    "{% for message in messages %}<|{{ message['role'] }}|>{{ message['content'] }}"
    "{% for call in message['tool_calls'] or [] %}{% set function = call['function'] or call %}"
    '<tool_call>{"name": {{ function["name"] | tojson }}, '
    '"arguments": {{ function["arguments"] | tojson }}}</tool_call>'
    "{% endfor %}{% if message['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
"""Tools stand in a first system message, a line each; what a model calls, as Hermes writes it. A conversation without
tools is written without any of that."""
SPECIAL_TOKENS = ("<|pad|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


@dataclass(frozen=True)
class NewModel:
    """A Qwen3-architecture causal LM with random weights and a byte-level tokenizer (one token a byte, 261 in all)."""

    hidden_size: Annotated[int, "[1, inf)"] = 128
    """Width."""
    layers: Annotated[int, "[1, inf)"] = 4
    """Depth."""
    heads: Annotated[int, "[1, inf)"] = 4
    """Attention heads; keys and values have half as many."""
    intermediate_size: Annotated[int, "[1, inf)"] = 512
    """Width of the feed-forward layers."""
    context_tokens: Annotated[int, "[1, inf)"] = 512
    """Prompt and completion together."""
    initializer_range: Annotated[float, "(0, inf)"] = 0.02
    """Standard deviation of the random weights."""
    pieces: tuple[str, ...] = ()
    """Strings that are one token each, beside the bytes: the longest that fits is taken first."""

    def save(self, directory: Path, seed: int = 0) -> None:
        """Writes model, tokenizer and generation config as ``save_pretrained`` does; ``seed`` draws the weights."""
        quiet_transformers()
        import torch
        from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

        tokenizer = byte_tokenizer(self.pieces)
        pad, end = SPECIAL_TOKENS.index("<|pad|>"), SPECIAL_TOKENS.index("<|end|>")
        config = Qwen3Config(
            vocab_size=len(tokenizer),
            hidden_size=self.hidden_size,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=max(1, self.heads // 2),
            head_dim=self.hidden_size // self.heads,
            intermediate_size=self.intermediate_size,
            max_position_embeddings=self.context_tokens,
            tie_word_embeddings=True,
            initializer_range=self.initializer_range,
            pad_token_id=pad,
            eos_token_id=end,
            bos_token_id=None,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Qwen3ForCausalLM(config)
        model.generation_config = GenerationConfig(eos_token_id=end, pad_token_id=pad, do_sample=True)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)


def byte_tokenizer(pieces: Sequence[str] = ()) -> PreTrainedTokenizerFast:
    """A fast tokenizer without merges: every byte is a token, so any text goes in and comes out unchanged.

    ``pieces`` are further tokens, each a string of its own.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_tokens([AddedToken(piece, normalized=False) for piece in pieces])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|end|>",
        pad_token="<|pad|>",
        clean_up_tokenization_spaces=False,
        extra_special_tokens=list(SPECIAL_TOKENS[2:]),
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast
