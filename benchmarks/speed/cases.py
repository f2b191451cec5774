"""What is measured: models, shapes and the bars, and how a model and its prompts are made."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROMPTS, GROUP = 8, 8
ROWS = PROMPTS * GROUP
SPREAD = (16, 32, 48, 72, 96, 128, 192, 256)
"""Lengths of a group's completions where they differ; the mean is 105."""
STOPS = 4
"""So many ids end a completion where lengths differ: of 512 that are almost equally likely, one in 128 tokens."""


@dataclass(frozen=True)
class Size:
    """A Qwen3-architecture model with random weights and tied embeddings."""

    name: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    feed_forward: int
    vocabulary: int

    @property
    def parameters(self) -> int:
        head = self.width // self.heads
        attention = self.width * head * (2 * self.heads + 2 * self.kv_heads)
        norms = 2 * self.width + 2 * head
        block = attention + 3 * self.width * self.feed_forward + norms
        return self.layers * block + self.vocabulary * self.width + self.width

    def save(self, directory: Path, context_tokens: int) -> Path:
        """Model, byte-level tokenizer and generation config; ids above 260 have no text."""
        import torch
        from transformers import GenerationConfig, Qwen3Config, Qwen3ForCausalLM

        from groupwise.learners.new_model import byte_tokenizer

        config = Qwen3Config(
            vocab_size=self.vocabulary,
            hidden_size=self.width,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            head_dim=self.width // self.heads,
            intermediate_size=self.feed_forward,
            max_position_embeddings=context_tokens,
            tie_word_embeddings=True,
            pad_token_id=0,
            eos_token_id=1,
            bos_token_id=None,
        )
        torch.manual_seed(0)
        model = Qwen3ForCausalLM(config)
        model.generation_config = GenerationConfig(eos_token_id=1, pad_token_id=0, do_sample=True)
        model.save_pretrained(directory)
        byte_tokenizer().save_pretrained(directory)
        return directory


TINY = Size("tiny", 2, 32, 2, 1, 64, 512)
S = Size("S", 4, 128, 4, 2, 512, 512)
M = Size("M", 8, 384, 6, 3, 896, 512)
L = Size("L", 12, 768, 12, 6, 2048, 32_000)


@dataclass(frozen=True)
class Case:
    """A model and a shape; ``times`` is how often each side takes the step, ``default_times`` TRL with its defaults."""

    size: Size
    prompt: int
    completion: int
    spread: bool = False
    bar: float = 0.0
    """Times faster than TRL tuned, at least."""
    micro_batch_rows: int = 16
    """Of TRL, and as tokens of ours: the fastest of 8, 16, 32 and 64 by ``--tune``."""
    times: int = 3
    default_times: int = 1
    tries_threads: bool = True
    """Whether every thread count is tried; else what the case before found best is kept."""

    @property
    def name(self) -> str:
        return f"{self.size.name} {self.prompt}/{'spread' if self.spread else self.completion}"

    @property
    def targets(self) -> tuple[int, ...]:
        """Lengths of a group's completions."""
        return SPREAD if self.spread else (self.completion,) * GROUP


def cases() -> Iterator[Case]:
    """The table, and one case of a hundred million parameters."""
    shapes = ((32, 64, False), (32, 256, False), (512, 64, False), (32, 256, True))
    for shape, bar, times in zip(shapes, (3.0, 3.0, 6.0, 5.6), (4, 3, 3, 3), strict=True):
        yield Case(S, *shape, bar, times=times)
    for shape, bar, times in zip(shapes, (2.2, 2.2, 4.2, 4.0), (3, 2, 2, 2), strict=True):
        yield Case(M, *shape, bar, times=times, default_times=1, tries_threads=times == 3)
    yield Case(L, 32, 64, times=1, default_times=0, tries_threads=False)


def smoke_cases() -> Iterator[Case]:
    """Seconds in all."""
    yield Case(TINY, 8, 8, times=2)
    yield Case(TINY, 8, 256, spread=True, times=1, default_times=0, tries_threads=False)


def prompts(length: int) -> list[str]:
    """Texts of ``length`` bytes, hence tokens, no two with a common beginning."""
    return ["".join(chr(97 + (row * 3 + place * (row + 1)) % 26) for place in range(length)) for row in range(PROMPTS)]


def reward(tokens: list[int] | tuple[int, ...]) -> float:
    """Costs nothing and differs between completions, so that every row has an advantage."""
    return sum(tokens) % 997 / 997
