"""This module reckons what a stage needs on GPUs that are not here: memory a rank, tokens a second, and what holds it
up. The model is made of meta tensors, which have shapes and no memory."""

from __future__ import annotations

from dataclasses import dataclass

from groupwise.learners.dry_step import BYTES
from groupwise.learners.shape import Shape
from groupwise.preflight.gpus import Gpu

USED_FLOPS, USED_BANDWIDTH, USED_LINK = 0.4, 0.6, 0.7
"""Assumed shares of the published figures that training, decoding and transfers reach."""
SPLITS = (1, 2, 4, 8)
"""GPUs of a machine that may share the weights of one sampler."""
RESERVED = 0.1
"""Assumed share of a GPU's memory that the runtime, buffers and fragments take."""


@dataclass(frozen=True)
class Work:
    """This is what a plan asks of a stage and its learner."""

    completions: int
    """Of a step."""
    prompt_tokens: int
    completion_tokens: int
    tokens_per_micro_batch: int = 8192
    dtype: str = "bfloat16"
    optimizer_bits: int = 32
    checkpointing: bool = True
    reference: bool = False
    lora_rank: int = 0
    """0: every parameter is trained."""
    context: int = 1
    """So many processes compute a micro-batch together."""
    passes: float = 1.0
    """Train steps' worth of computing a token: one, and a third for each further forward pass."""


@dataclass(frozen=True)
class Plan:
    """A plan is what was reckoned: bytes of a rank by what holds them, seconds of a step by what takes them."""

    memory: dict[str, float]
    seconds: dict[str, float]
    room: float
    """Bytes of a rank that may be used."""
    tokens: int
    """Of a step."""

    @property
    def bytes(self) -> float:
        """Returns the bytes of a rank."""
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        """Says whether a rank has so much memory."""
        return self.bytes <= self.room

    @property
    def tokens_per_second(self) -> float:
        """Returns how many tokens a second are sampled and learned from."""
        return self.tokens / sum(self.seconds.values())

    @property
    def bottleneck(self) -> str:
        """Returns what takes most of a step; memory where it does not fit."""
        return max(self.seconds, key=lambda name: self.seconds[name]) if self.fits else "memory"


def state_bytes(shape: Shape, work: Work, processes: int) -> dict[str, float]:
    """Bytes of a rank that are there whatever is learned from: its shares of weights, gradients, optimizer and
    reference; weights in bfloat16 have float32 masters, whose gradients are float32 too. With adapters every rank has
    the frozen weights whole, and all of the adapters."""
    each, half = BYTES[work.dtype], work.dtype == "bfloat16"
    share, wide = shape.parameters / processes, 4 if half else each
    moments = work.optimizer_bits * (8 if work.dtype == "float64" else 4) // 16
    found = {
        "weights": share * each,
        "masters": share * 4 if half else 0.0,
        "gradients": share * wide,
        "optimizer": share * moments,
    }
    if work.lora_rank:
        adapters = adapter_parameters(shape, work.lora_rank)
        found = {"weights": shape.parameters * each, "adapters": float(adapters * (2 * wide + moments))}
    return found | ({"reference": share * each} if work.reference else {})


def adapter_parameters(shape: Shape, rank: int) -> int:
    """Returns how many parameters adapters on every linear layer of the blocks have: rank times inputs and outputs of
    each."""
    return rank * shape.blocks * (9 * shape.width + shape.kv_width + 3 * shape.middle)


def learning_bytes(shape: Shape, work: Work, processes: int, split: int) -> dict[str, float]:
    """Returns the bytes of a rank while it learns, beside the weights that sample, which ``split`` GPUs hold
    together."""
    each = BYTES[work.dtype]
    # of a block: its input, two norms', q before and after its norm, attention's and the sum; k, v and k after its
    # norm; gate, up, what the activation makes of gate, and their product
    block = 7 * shape.width + 1.5 * shape.kv_width + 4 * shape.middle
    kept = shape.blocks * shape.width + block if work.checkpointing else shape.blocks * block
    # whole at once: what is outside of blocks, the block that is computed and the next; and the gradients of these
    shards = processes > 1 and not work.lora_rank
    gathered = 2 * (shape.outside + 2 * shape.block) * each if shards else 0
    return state_bytes(shape, work, processes) | {
        "gathered": float(gathered),
        "activations": float(work.tokens_per_micro_batch * kept * each / work.context),
        "sampling weights": shape.parameters * each / split,
    }


def plan(shape: Shape, work: Work, processes: int, device: Gpu) -> Plan:
    """Reckons a step on so many GPUs that sample and learn in turn: for learning, weights are sharded over all of them;
    for sampling, over as few of a machine as leave room, 1, 2, 4 or 8."""
    most = [split for split in SPLITS if split <= processes]
    plans = [_split_plan(shape, work, processes, device, split) for split in most]
    return next((found for found in plans if found.fits), plans[-1])


def _split_plan(shape: Shape, work: Work, processes: int, device: Gpu, split: int) -> Plan:
    """The same with the weights that sample split over so many GPUs."""
    each = BYTES[work.dtype]
    memory = learning_bytes(shape, work, processes, split)
    sampled = work.completions * work.completion_tokens
    tokens = work.completions * (work.prompt_tokens + work.completion_tokens)
    # a completion is not divided, but by processes that share a micro-batch: with more of them some have nothing to do
    row = work.prompt_tokens + work.completion_tokens
    learned = max(tokens / processes, row / work.context)
    prompts = max((tokens - sampled) / processes, work.prompt_tokens)
    operations = (8 if work.checkpointing else 6) * shape.active * learned * work.passes
    parts = -(-tokens * work.context // (work.tokens_per_micro_batch * processes))
    moved = 3 * parts * shape.parameters * each * (processes - 1) / processes
    rounds, read = _decoding(shape, work, each, split, processes, (1 - RESERVED) * device.memory - sum(memory.values()))
    seconds = {
        "learning": operations / (USED_FLOPS * device.flops),
        "transfers": moved / (USED_LINK * device.link),
        "sampling": rounds * work.completion_tokens * read / (USED_BANDWIDTH * device.bandwidth),
        "prompts": 2 * shape.active * prompts / (USED_FLOPS * device.flops),
    }
    return Plan(memory, seconds, (1 - RESERVED) * device.memory, tokens)


def _decoding(shape: Shape, work: Work, each: int, split: int, processes: int, free: float) -> tuple[int, float]:
    """In how many rounds a sampler draws its completions, as many at once as keys and values have room for beside all
    else, and what it reads on each GPU for a token of every one."""
    of_token = shape.kv_width * shape.blocks * each / split
    longest, mean = work.prompt_tokens + work.completion_tokens, work.prompt_tokens + work.completion_tokens / 2
    wanted = -(-work.completions * split // processes)
    rounds = -(-wanted // max(1, int(free // (longest * of_token))))
    return rounds, shape.parameters * each / split + wanted / rounds * mean * of_token
