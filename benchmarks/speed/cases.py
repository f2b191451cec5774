"""What is measured: models, shapes and the bars, and how a model and its prompts are made."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
    architecture = "qwen3"
    end_token = 1

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

    def prompts(self, directory: Path, length: int) -> list[str]:
        """Texts of so many tokens, no two with a common beginning."""
        return prompts(length)


@dataclass(frozen=True)
class Pretrained:
    """A model that somebody else trained, in float32, as ``groupwise fetch`` gives it."""

    name: str
    package: str
    parameters: int
    architecture: str
    end_token: int

    def save(self, directory: Path, context_tokens: int) -> Path:
        """Fetches it; its context is its own."""
        command = [sys.executable, "-m", "groupwise.cli", "fetch", self.package, str(directory)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        return directory

    def prompts(self, directory: Path, length: int) -> list[str]:
        """Words of a token each, in an order of chance; no two texts have a common beginning."""
        from transformers import AutoTokenizer

        tokenizer: Any = AutoTokenizer.from_pretrained(directory)
        texts = [tokenizer.decode([number]) for number in range(300, 8000)]
        words = [text for text in texts if text.startswith(" ") and text[1:].isalpha() and text.isascii()]
        draw = random.Random(0)
        made = [[first, *draw.choices(words, k=length - 1)] for first in draw.sample(words, PROMPTS)]
        found = ["".join(one) for one in made]
        assert [len(tokenizer(text)["input_ids"]) for text in found] == [length] * PROMPTS
        return found


TINY = Size("tiny", 2, 32, 2, 1, 64, 512)
S = Size("S", 4, 128, 4, 2, 512, 512)
M = Size("M", 8, 384, 6, 3, 896, 512)
L = Size("L", 12, 768, 12, 6, 2048, 32_000)
SMOLLM2 = Pretrained("SmolLM2", "smollm2", 134_515_008, "llama", 2)


@dataclass(frozen=True)
class Case:
    """A model and a shape; ``times`` is how often each side takes the step, ``default_times`` TRL with its defaults."""

    size: Size | Pretrained
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
    """The table, one case of a hundred million parameters, and two of a chat model."""
    shapes = ((32, 64, False), (32, 256, False), (512, 64, False), (32, 256, True))
    for shape, bar, times in zip(shapes, (3.0, 3.0, 6.0, 5.6), (4, 3, 3, 3), strict=True):
        yield Case(S, *shape, bar, times=times)
    for shape, bar, times in zip(shapes, (2.2, 2.2, 4.2, 4.0), (3, 2, 2, 2), strict=True):
        yield Case(M, *shape, bar, times=times, default_times=1, tries_threads=times == 3)
    yield Case(L, 32, 64, times=1, default_times=0, tries_threads=False)
    for prompt, bar, rows, times in ((32, 3.5, 16, 2), (512, 6.0, 8, 1)):
        yield Case(SMOLLM2, prompt, 64, False, bar, rows, times, default_times=0, tries_threads=False)


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
