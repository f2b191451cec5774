"""TRL's GRPOTrainer: its training loop, held at the beginning of every step until the bench says so.

``tuned``: bf16 and gradient checkpointing off, the micro-batch that was fastest. ``defaults``: what GRPOConfig says.
"""

from __future__ import annotations

import importlib
import time
from collections import Counter
from typing import Any

import torch
from cases import GROUP, PROMPTS, ROWS, reward
from datasets import Dataset
from talk import Channel, Ended, Memory
from transformers import LogitsProcessor, LogitsProcessorList, TrainerCallback, TrainerControl
from trl import GRPOConfig, GRPOTrainer

EPOCH = 64  # steps in a pass over the data set, so that loaders are not made again at every step


class Lengths(LogitsProcessor):
    """Ends every completion where ours ended: no EOS before, nothing but EOS there."""

    def __init__(self, prompt: int, eos: int) -> None:
        self.prompt, self.eos = prompt, eos
        self.lengths = torch.zeros(ROWS, dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        place = input_ids.shape[1] - self.prompt + 1
        scores[:, self.eos] = -torch.inf
        ends = self.lengths == place
        if ends.any():
            scores[ends] = -torch.inf
            scores[ends, self.eos] = 0.0
        return scores


class Turns(TrainerCallback):
    """Reports a step when the next one begins, and waits for the order to take it."""

    def __init__(self, channel: Channel, lengths: Lengths, longest: int) -> None:
        self.channel, self.lengths, self.longest, self.memory = channel, lengths, longest, Memory()
        self.reports = False
        self.started = 0.0
        self.spent: Counter[str] = Counter()
        self.tokens = 0

    def on_step_begin(self, args: Any, state: Any, control: TrainerControl, **of: Any) -> None:
        if self.reports:
            self.channel.say(
                seconds=time.perf_counter() - self.started, sampling=self.spent["sampling"],
                learning=self.spent["step"] - self.spent["preparing"], tokens=self.tokens, **self.memory.figures(),
            )  # fmt: skip
        order = self.channel.hear()
        self.reports = True
        torch.set_num_threads(order["threads"])
        self.lengths.lengths = torch.tensor(order["lengths"]).flatten().clamp(max=order["cut"])
        # A completion of the greatest length is truncated there; it needs no EOS.
        self.lengths.lengths[self.lengths.lengths == self.longest] = 0
        self.spent.clear()
        self.started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **of: Any) -> None:
        self.spent["step"] = time.perf_counter() - self.started  # what follows is logging

    def timed(self, name: str, function: Any) -> Any:
        """``function``, whose seconds are added to those of ``name``."""

        def call(*args: Any, **kwargs: Any) -> Any:
            begun = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent[name] += time.perf_counter() - begun
            return result

        return call


def config(job: dict[str, Any]) -> GRPOConfig:
    """Eight prompts with eight completions each, one optimiser step."""
    on_cpu = job.get("device", "cpu") == "cpu"
    common = {
        "output_dir": job["out"], "use_cpu": on_cpu, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
        "max_steps": 10**6, "learning_rate": 0.0, "num_generations": GROUP, "shuffle_dataset": False,
        "max_completion_length": job["completion"],
    }  # fmt: skip
    if job["defaults"]:
        rows = GRPOConfig(output_dir=job["out"], use_cpu=True, report_to="none").per_device_train_batch_size
        return GRPOConfig(**common, gradient_accumulation_steps=ROWS // rows)
    rows = job["micro_batch_rows"]
    return GRPOConfig(
        **common, bf16=not on_cpu, gradient_checkpointing=False, per_device_train_batch_size=rows,
        gradient_accumulation_steps=ROWS // rows, dataloader_pin_memory=False,
    )  # fmt: skip


def main() -> None:
    channel = Channel()
    job = channel.hear()
    kind = job["architecture"]
    importlib.import_module(f"transformers.models.{kind}.modeling_{kind}")  # which loading the model would do
    lengths = Lengths(job["prompt"], job["end_token"])
    turns = Turns(channel, lengths, job["completion"])

    def score(completion_ids: list[list[int]], **of: Any) -> list[float]:
        turns.tokens = sum(map(len, completion_ids))
        return [reward(tokens) for tokens in completion_ids]

    trainer = GRPOTrainer(
        job["model"],
        score,
        args=config(job),
        train_dataset=Dataset.from_dict({"prompt": job["prompts"] * EPOCH}),
        callbacks=[turns],
    )
    generate, processors = trainer.model.generate, LogitsProcessorList([lengths])
    trainer.model.generate = turns.timed("sampling", lambda **of: generate(**of, logits_processor=processors))
    trainer._prepare_inputs = turns.timed("preparing", trainer._prepare_inputs)
    args = trainer.args
    channel.say(
        rows=PROMPTS * GROUP, bf16=args.bf16, gradient_checkpointing=args.gradient_checkpointing, optimizer=args.optim,
        micro_batch_rows=args.per_device_train_batch_size, dtype=str(trainer.model.dtype),
        attention=trainer.model.config._attn_implementation,
    )  # fmt: skip
    try:
        trainer.train()
    except Ended:
        return


if __name__ == "__main__":
    main()
