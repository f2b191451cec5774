"""Plans without a cluster: what is reckoned is what is measured where both can be had, and by hand elsewhere."""

from __future__ import annotations

import json
import re
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, MambaConfig, MixtralConfig

from groupwise import Run, Stage, recipes
from groupwise.algorithm import Outputs
from groupwise.cli import main
from groupwise.commands.check_plan import print_plan
from groupwise.errors import UserError
from groupwise.learners import FSDP
from groupwise.learners.local import LocalLearner
from groupwise.learners.shape import Shape
from groupwise.preflight.gpus import GPUS, gpu
from groupwise.preflight.plan import Work, learning_bytes, plan, state_bytes
from groupwise.tasks.task import Task
from groupwise.types import Example, Rollout

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
BILLION = Shape(1_000_000_000, 50_000_000, 200_000_000, 2048, 8192, 16, 32_000, 1024)


def test_state_is_what_a_learner_holds(
    open_learner: Callable[..., LocalLearner], make_rollout: Callable[..., Rollout]
) -> None:
    """Weights, gradients and AdamW's state of a learner in this process, after a step, within a tenth."""
    learner = open_learner(dtype="float32")
    shape = Shape.of(learner.model.config)
    assert shape.parameters == sum(parameter.numel() for parameter in learner.model.parameters())
    rollout = make_rollout([1, 2, 3], [4, 5])
    learner.backward([rollout], 1.0, lambda rows, said: Outputs(torch.ones_like(said.logprobs)))
    measured = sum(p.nbytes + (0 if p.grad is None else p.grad.nbytes) for p in learner.model.parameters())
    learner.step(1.0, 1e-3)
    states = learner.state()["optimizer"]

    def nbytes(value: object) -> int:
        if isinstance(value, dict):
            return sum(map(nbytes, value.values()))
        if isinstance(value, list | tuple):
            return sum(map(nbytes, value))
        return int(getattr(value, "nbytes", 0))

    measured += nbytes(states)
    work = Work(8, 16, 16, dtype="float32")
    assert sum(state_bytes(shape, work, 1).values()) == pytest.approx(measured, rel=0.1)


@pytest.mark.parametrize("case", ["all kept", "checkpointing"])
def test_two_processes_need_what_is_reckoned(case: str) -> None:
    """Of the first of two processes in a train step, as ``benchmarks/plan_memory.py`` measured it, within a tenth."""
    found = json.loads((BENCHMARKS / "plan_memory.json").read_text())
    measured = found["cases"][case]
    work = Work(1, 1, 1, measured["tokens"], dtype="float32", checkpointing=measured["checkpointing"])
    parts = learning_bytes(Shape(**found["shape"]), work, processes=2, split=1)
    assert sum(parts.values()) == pytest.approx(measured["measured"], rel=0.1)


def test_a_rank_holds_its_share_by_hand() -> None:
    """A billion parameters in bfloat16 with float32 masters: 18 bytes each, and 2 of a reference, over 8 ranks; whole
    on each are the 200 million outside of blocks, and two blocks of 50 million, with their gradients."""
    work = Work(512, 200, 800, reference=True)
    found = plan(BILLION, work, 8, gpu("h100-80gb"))
    assert sum(state_bytes(BILLION, work, 8).values()) == 2.5e9
    assert found.memory["gathered"] == 1.2e9
    assert found.memory["activations"] == 8192 * (16 * 2048 + 7 * 2048 + 1.5 * 1024 + 4 * 8192) * 2
    assert found.seconds["learning"] == pytest.approx(8e9 * 512_000 / (8 * 0.4 * 989e12))
    assert found.fits
    assert found.memory["sampling weights"] == 2e9
    one = plan(BILLION, work, 1, gpu("l4-24gb"))
    assert one.bytes == pytest.approx(20e9 + 1.334e9 + 2e9, rel=1e-3)
    assert not one.fits, "23.3 of 21.6 GB"
    assert plan(replace(BILLION, parameters=900_000_000), work, 1, gpu("l4-24gb")).fits


def test_weights_that_sample_are_split_until_they_fit() -> None:
    """Seventy billion parameters in bfloat16 are 140 GB: no GPU of 80 GB holds them, nor two beside what learns."""
    large, work = replace(BILLION, parameters=70_000_000_000), Work(512, 200, 800)
    found = plan(large, work, 64, gpu("h100-80gb"))
    assert found.memory["sampling weights"] == 140e9 / 4
    assert found.fits
    assert not plan(large, work, 8, gpu("h100-80gb")).fits


def test_with_adapters_what_is_frozen_is_whole_everywhere() -> None:
    """Rank 16 on sixteen blocks: 16 · 16 · (9 · 2048 + 1024 + 3 · 8192) parameters, of 16 bytes each with their
    gradients and AdamW's state, beside a billion frozen ones in bfloat16; blocks need not be gathered."""
    found = learning_bytes(BILLION, Work(512, 200, 800, lora_rank=16), processes=8, split=1)
    assert found["weights"] == 2e9
    assert found["adapters"] == 16 * 16 * (9 * 2048 + 1024 + 3 * 8192) * 16
    assert found["gathered"] == 0
    assert "masters" not in found


def test_more_gpus_need_less_of_each() -> None:
    for device in GPUS:
        plans = [plan(BILLION, Work(512, 200, 800), count, device) for count in (1, 2, 8, 64)]
        states = [each.memory["weights"] for each in plans]
        assert states == sorted(states, reverse=True)
        assert all(each.tokens_per_second > 0 for each in plans)
        assert device.source


def test_an_unknown_gpu_is_named() -> None:
    with pytest.raises(UserError, match=r"--gpu is b999; expected a100-40gb, "):
        gpu("b999")


def test_experts_that_a_token_is_not_sent_to_are_held_and_compute_nothing() -> None:
    """Two layers of four experts of 3 x 32 x 64 numbers, of which a token goes to one."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    experts = {"num_local_experts": 4, "num_experts_per_tok": 1, "num_key_value_heads": 1, "vocab_size": 50}
    shape = Shape.of(MixtralConfig(**sizes, **experts))
    assert shape.idle == 2 * 3 * (3 * 32 * 64)
    assert (shape.middle, shape.active) == (64, shape.parameters - shape.idle)
    found, dense = (plan(each, Work(8, 16, 16), 2, GPUS[0]) for each in (shape, replace(shape, idle=0)))
    assert found.memory == dense.memory
    assert found.seconds["learning"] == pytest.approx(dense.seconds["learning"] * shape.active / shape.parameters)


def test_blocks_are_found_whatever_they_are_called() -> None:
    """GPT-2's are named h; each has 12 d² + 13 d parameters."""
    shape = Shape.of(GPT2Config(n_embd=16, n_layer=3, n_head=2, vocab_size=20, n_positions=8))
    assert (shape.block, shape.blocks, shape.middle) == (12 * 16**2 + 13 * 16, 3, 64)
    assert shape.outside == 20 * 16 + 8 * 16 + 2 * 16 == shape.parameters - 3 * shape.block


def test_a_model_without_attention_is_refused_in_words() -> None:
    with pytest.raises(UserError, match="architecture mamba: has no attention heads to reckon with; expected"):
        Shape.of(MambaConfig(num_hidden_layers=1, hidden_size=8, vocab_size=20))


def test_processes_that_share_a_micro_batch_keep_a_part_of_its_activations_each() -> None:
    work = Work(64, 256, 1024, tokens_per_micro_batch=16_384)
    one, four = (plan(BILLION, replace(work, context=context), 8, GPUS[0]) for context in (1, 4))
    assert four.memory["activations"] == one.memory["activations"] / 4
    assert four.seconds["transfers"] == pytest.approx(3 * one.seconds["transfers"])  # rounds of 81,920 tokens


def test_more_processes_than_completions_do_not_learn_faster() -> None:
    """Of sixteen completions sixteen processes have one each; two that share a micro-batch halve it."""
    work = Work(16, 200, 800)
    sixteen, many = (plan(BILLION, work, count, GPUS[0]) for count in (16, 1024))
    assert sixteen.seconds["learning"] == many.seconds["learning"]
    assert sixteen.seconds["prompts"] == many.seconds["prompts"]
    halves = plan(BILLION, replace(work, context=2), 32, GPUS[0])
    assert halves.seconds["learning"] == sixteen.seconds["learning"] / 2


@pytest.mark.parametrize(
    ("processes", "options", "said"),
    [
        (
            "4",
            ("--gpu", "h100-80gb", "--learner.context", "4"),
            "learner.context 4: the model has 2 attention heads, .* at most 2",
        ),
        (
            "4",
            ("--gpu", "h100-80gb", "--learner.context", "3"),
            "learner.context 3: .* 4 do not divide into such groups; .* 1, 2, 4",
        ),
        (
            "2",
            ("--gpu", "h100-80gb", "--learner.optimizer_bits", "8"),
            "optimizer_bits 8: its blocks of 256 do not divide .* expected 32",
        ),
        ("0", ("--gpu", "h100-80gb"), "--processes is 0; expected 1 or more"),
        ("-2", ("--gpu", "h100-80gb"), "--processes is -2; expected 1 or more"),
        ("2", ("--gpu", ""), "--gpu is ; expected a100-40gb"),
    ],
)
def test_a_plan_refuses_what_a_run_would(
    processes: str,
    options: tuple[str, ...],
    said: str,
    tiny_model: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = str(BENCHMARKS.parent / "examples" / "sums.jsonl")
    asked = ["check", "grpo", "--model", str(tiny_model), "--data", data, "--reward", "math"]
    assert main([*asked, "--processes", processes, *options]) == 2
    assert re.search(f"^groupwise check: .*{said}", capsys.readouterr().err)


def test_a_plan_of_a_recipe_is_for_its_processes(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    task = Task("rows", (Example("1", "1"),))
    run = Run("mine", str(tiny_model), (Stage("grpo", recipes.grpo, task, 5),), learner=FSDP(processes=4, context=2))
    asked = Namespace(gpu="h100-80gb", processes=None)
    assert print_plan(run, asked) == 0
    assert "4 x h100-80gb" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"learner\.context 2: .* 1 do not divide into such groups; expected one of 1"):
        print_plan(replace(run, learner=FSDP(context=2)), asked)


def test_what_is_advised_for_memory_can_be_had(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Several processes divide no 8-bit optimizer, and checkpointing that is on is not advised."""
    data = str(BENCHMARKS.parent / "examples" / "sums.jsonl")
    asked = ["check", "grpo", "--model", str(tiny_model), "--data", data, "--reward", "math", "--gpu", "h100-80gb"]
    asked += ["--learner.tokens_per_micro_batch", "100000000000"]
    assert main(asked) == 1
    assert "NOT fit: more processes, checkpointing, optimizer_bits 8, or fewer" in capsys.readouterr().out
    assert main([*asked, "--processes", "2", "--learner.checkpointing", "True"]) == 1
    assert "NOT fit: more processes, or fewer tokens_per_micro_batch" in capsys.readouterr().out
