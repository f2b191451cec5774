"""Several processes learn what one learns: gradients, metrics, checkpoints. One group of processes serves all tests."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM

from groupwise import NewModel, OnPolicy, Run, recipes
from groupwise.algorithm import Algorithm, ConstantLength, Entropy
from groupwise.errors import UserError
from groupwise.learners import FSDP, Local, Lora, ranks, sharded, sharding
from groupwise.learners.context_group import ContextGroup
from groupwise.learners.hidden_states import PaddedBackbone, backbone_of
from groupwise.learners.loading import load_model
from groupwise.learners.new_model import byte_tokenizer
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Trainable
from groupwise.rewards import as_reward
from groupwise.runs.session import run
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage
from groupwise.training.update import prepare
from groupwise.types import Example, Group, Rollout, flatten

EXACT: dict[str, Any] = {"device": "cpu", "threads": 1, "dtype": "float64", "tokens_per_micro_batch": 40}
TWO: dict[str, Any] = {"processes": 2, "timeout_seconds": 60}
DIVIDED: dict[str, Any] = {"context": 2}
GRPO = replace(recipes.grpo, kl=replace(recipes.grpo.kl, coefficient=0.05), entropy=Entropy(0.01))
EXACT_KL = replace(GRPO, kl=replace(GRPO.kl, estimator="exact"))
PPO = replace(recipes.ppo, critic=replace(recipes.ppo.critic, network="own"))


@dataclass(frozen=True)
class Case:
    """What is learned, with which options beside EXACT, and how nearly two processes are one."""

    algorithm: Algorithm
    options: dict[str, Any] = field(default_factory=dict)
    close: float = 1e-10
    several: dict[str, Any] = field(default_factory=dict)
    """Of several processes alone."""
    silent: int = 0
    """Groups whose rewards are equal."""
    layers: int = 1


DR_GRPO = replace(recipes.dr_grpo, aggregation=ConstantLength(12))
CASES = {
    "a KL and an entropy bonus": Case(GRPO, layers=2),
    "an exact KL, blocks computed twice": Case(EXACT_KL, {"checkpointing": True}),
    "demonstrations": Case(recipes.sft),
    "pairs": Case(recipes.dpo),
    "adapters": Case(GRPO, {"lora": Lora(rank=2)}),
    "adapters, and a critic's head": Case(recipes.ppo, {"lora": Lora(rank=2)}),
    "a critic's head": Case(recipes.ppo),
    "a critic of its own": Case(PPO),
    "half precision": Case(GRPO, {"dtype": "bfloat16"}, close=0.02),
    "half precision, adapters and a critic's head": Case(
        recipes.ppo, {"dtype": "bfloat16", "lora": Lora(rank=2)}, close=0.02
    ),
    "a scorer": Case(recipes.reward_model),
    "groups without a signal": Case(DR_GRPO, silent=3),
    "divided tokens, groups without a signal": Case(DR_GRPO, several=DIVIDED, silent=3),
    "divided tokens, blocks computed twice": Case(EXACT_KL, {"checkpointing": True}, several=DIVIDED, layers=2),
    "divided tokens, a critic of its own": Case(PPO, several=DIVIDED),
    "divided tokens, adapters and a critic's head": Case(recipes.ppo, {"lora": Lora(rank=2)}, several=DIVIDED),
    "divided tokens, half precision": Case(GRPO, {"dtype": "bfloat16"}, close=0.02, several=DIVIDED),
    "divided tokens, a scorer": Case(recipes.reward_model, several=DIVIDED),
}
pytestmark = pytest.mark.usefixtures("warm_ranks")
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
SAVED = (
    "a KL and an entropy bonus",
    "adapters, and a critic's head",
    "a critic's head",
    "a critic of its own",
    "half precision",
    "a scorer",
)
"""Cases with states of each form: what an objective or a penalty is does not change what is written."""


@pytest.fixture
def models(shallow_model: Path, tiny_model: Path) -> dict[int, Path]:
    """By the number of layers."""
    return {1: shallow_model, 2: tiny_model}


@pytest.fixture
def groups(random_groups: Callable[..., list[Group]]) -> list[Group]:
    made = []
    for number, group in enumerate(random_groups(groups=5, size=2)):
        scored = [
            replace(rollout, rewards={rollout.last: 0.25 + 0.5 * ((row + number) % 2)})
            for row, rollout in enumerate(group.rollouts)
        ]
        made.append(Group(group.prompt, tuple(scored)))
    return made


def equal(group: Group) -> Group:
    """Returns the group with one reward for all."""
    return replace(group, rollouts=tuple(replace(each, rewards={each.last: 1.0}) for each in group.rollouts))


def opened(config: Local | FSDP, case: Case, directory: Path) -> Any:
    learner = (config.open_scorer if case.algorithm.trains_scorer else config.open)(directory)
    learner.start_stage("" if case.algorithm.needs_reference else None, case.algorithm.critic.network)
    return learner


def one_and_two(case: Case) -> tuple[Local, FSDP]:
    options = EXACT | case.options
    return Local(**options), FSDP(**options, **TWO, **case.several)


def learned(learner: Trainable, case: Case, groups: list[Group]) -> dict[str, Any]:
    stage = Stage("stage", case.algorithm, Task("task", ()), 4, learning_rate=1e-3)
    groups = [equal(group) for group in groups[: case.silent]] + groups[case.silent :]
    batch = TrainBatch.of(case.algorithm, flatten(groups), prepare(stage, learner, groups))
    tally = learner.accumulate(batch, case.algorithm)
    assert sorted(tally.rows) == list(range(len(batch.rows)))
    return {"count": tally.count, **tally.sums, **learner.step(tally.count, 1e-3, 1e-3)}


def moments(learner: Any, directory: Path) -> list[Tensor]:
    """After a first step, AdamW's: (1 - β₁) of the gradient itself, and the square."""
    from groupwise.storage.tensors import load_state

    directory.mkdir()
    learner.write(directory)
    state = load_state(directory)["optimizer"]["adamw"]["state"]
    return [state[number][name] for number in sorted(state) for name in ("exp_avg", "exp_avg_sq")]


@every
def test_two_processes_learn_what_one_learns(
    case: Case, models: dict[int, Path], groups: list[Group], tmp_path: Path
) -> None:
    """The gradient, the tally, steps, and what is said after them, of a policy that is no longer its reference."""
    configs = one_and_two(case)
    with (
        closing(opened(configs[0], case, models[case.layers])) as one,
        closing(opened(configs[1], case, models[case.layers])) as two,
    ):
        found = [learned(learner, case, groups) for learner in (two, one)]
        assert found[0] == pytest.approx(found[1], rel=case.close * 10, abs=case.close * 10)
        parts = [moments(learner, tmp_path / name) for learner, name in ((two, "two"), (one, "one"))]
        assert len(parts[0]) == len(parts[1]) > 1
        for ours, theirs in zip(*parts, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=case.close, atol=case.close)
        assert sum(float(part.abs().sum()) for part in parts[1]) > 0
        found = [learned(learner, case, groups) for learner in (two, one)]
        close = {"rel": max(case.close * 5, 1e-6), "abs": max(case.close, 1e-7)}
        assert found[0] == pytest.approx(found[1], **close)


FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "n_inner": 48},
    "smollm3": {"no_rope_layers": [1, 0]},
    "gemma2": {"sliding_window": 5, "attn_logit_softcapping": 3.0, "final_logit_softcapping": 3.0},
    "llama": {"hidden_size": 24, "num_attention_heads": 3, "num_key_value_heads": 1, "head_dim": 8},
    "gpt_oss": {"num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 5},
    "deepseek_v3": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "n_group": 1, "topk_group": 1,
        "n_shared_experts": 1, "first_k_dense_replace": 1, "kv_lora_rank": 12, "q_lora_rank": 20, "head_dim": 8,
        "qk_nope_head_dim": 16, "qk_rope_head_dim": 8, "v_head_dim": 12, "num_key_value_heads": 4,
    },
}  # fmt: skip
"""Layers whose heads are not turned; capped scores and windows; heads that processes do not divide; scores that give
nothing; experts, and a router in a dtype of its own."""


def saved_family(kind: str, directory: Path) -> Path:
    """Makes a small model of a family, its router and sinks far from uniform."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    sizes |= {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 64}
    known = {"vocab_size": 261, "initializer_range": 0.2, "bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    torch.manual_seed(4)
    config = AutoConfig.for_model(kind, **known, **({} if kind == "gpt2" else sizes) | FAMILIES[kind])
    model = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("gate.weight", "router.weight", "sinks")):
                parameter.normal_()
    model.save_pretrained(directory)
    byte_tokenizer().save_pretrained(directory)
    return directory


@pytest.mark.parametrize("several", [{"processes": 1}, TWO | DIVIDED], ids=["parts", "divided tokens"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_every_family_learns_in_parts_what_it_learns_whole(
    kind: str, several: dict[str, Any], groups: list[Group], tmp_path: Path
) -> None:
    """What a block reads beside its layers is there in parts, too, and whole while the block computes."""
    directory, case = saved_family(kind, tmp_path / "model"), CASES["a KL and an entropy bonus"]
    with (
        closing(opened(Local(**EXACT), case, directory)) as one,
        closing(opened(FSDP(**EXACT, **several), case, directory)) as other,
    ):
        said = [learner.logprobs(flatten(groups), 1.0) for learner in (other, one)]
        torch.testing.assert_close(*said, rtol=0, atol=1e-10)
        for _ in range(2):
            found = [learned(learner, case, groups) for learner in (other, one)]
            assert found[0] == pytest.approx(found[1], rel=1e-6, abs=1e-8)
        assert found[0]["grad_norm"] > 0


SHAPES: dict[str, list[tuple[int, list[int]]]] = {
    "one completion of one token": [(1, [1, 1])],
    "a prompt longer than a share": [(30, [1, 1, 1]), (1, [9, 1])],
    "long beside short": [(2, [23, 1]), (7, [5, 4]), (1, [1, 1])],
    "fewer rows than processes, and an odd number of tokens": [(3, [3])],
}
"""Of each group: the prompt's length, and those of its completions."""


@pytest.mark.parametrize("several", [{}, DIVIDED], ids=["whole", "divided"])
@pytest.mark.parametrize("budget", [1, 24])
def test_lengths_that_divide_badly(
    budget: int, several: dict[str, int], models: dict[int, Path], make_rollout: Callable[..., Rollout]
) -> None:
    """Some processes have nothing to compute, of some micro-batches or of all."""
    options, case = EXACT | {"tokens_per_micro_batch": budget}, CASES["a KL and an entropy bonus"]
    with (
        closing(opened(Local(**options), case, models[1])) as one,
        closing(opened(FSDP(**options, **TWO, **several), case, models[1])) as two,
    ):
        for name, lengths in SHAPES.items():
            made = []
            for number, (asked, sizes) in enumerate(lengths):
                prompt = [5 + (7 * place + number) % 200 for place in range(asked)]
                rollouts = [
                    make_rollout(
                        prompt, [9 + (3 * place + row) % 200 for place in range(size)], rewards={size - 1: row}
                    )
                    for row, size in enumerate(sizes)
                ]
                made.append(Group(rollouts[0].prompt, tuple(rollouts)))
            found = [learned(learner, case, made) for learner in (two, one)]
            assert found[0] == pytest.approx(found[1], rel=1e-8, abs=1e-8), name
            said = [learner.logprobs(flatten(made), 1.0) for learner in (two, one)]
            torch.testing.assert_close(*said, rtol=0, atol=1e-7, msg=name)


@pytest.mark.parametrize("case", [CASES[name] for name in SAVED], ids=SAVED)
def test_what_two_processes_wrote_one_reads_and_the_reverse(
    case: Case, models: dict[int, Path], groups: list[Group], tmp_path: Path
) -> None:
    """The format is one: a checkpoint of either goes on in the other as in itself."""
    configs = one_and_two(case)
    for writer in configs:
        directory = tmp_path / type(writer).__name__
        directory.mkdir()
        with closing(opened(writer, case, models[case.layers])) as straight:
            learned(straight, case, groups)
            straight.save(directory)
            straight.write(directory)
            expected = learned(straight, case, groups)
        reader = configs[0] if writer is configs[1] else configs[1]
        with closing(opened(reader, case, directory)) as resumed:
            resumed.read(directory)
            assert resumed.version == 1
            found = learned(resumed, case, groups)
            assert found == pytest.approx(expected, rel=case.close * 10, abs=case.close * 10)


def letters(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(map(ord, text)) % 7) for text in completions]


def test_a_stage_of_two_processes_is_the_stage_of_one(tmp_path: Path) -> None:
    rows = tuple(Example(f"row:{n}", f"{n}+1=", f"{n + 1}") for n in range(6))
    task = Task("rows", rows, rewards=(as_reward(letters),))
    grpo = replace(GRPO, source=OnPolicy(group_size=4, max_completion_tokens=6))
    stage = Stage("learn", grpo, task, steps=3, prompts_per_step=3, learning_rate=1e-2, minibatches=2)
    model = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    found = []
    for config in (Local(**EXACT), FSDP(**EXACT, **TWO)):
        outcome = run(Run("ranks", model, (stage,), config), tmp_path / type(config).__name__, sinks=[])
        lines = (outcome.directory / "metrics.jsonl").read_text().splitlines()
        found.append([{name: value for name, value in json.loads(line).items() if "/s" not in name} for line in lines])
    assert len(found[0]) == 3
    for one, two in zip(*found, strict=True):
        assert one.keys() == two.keys()
        same = {name: value for name, value in one.items() if "second" not in name and "time" not in name}
        numbers = {name: value for name, value in same.items() if isinstance(value, int | float)}
        assert {name: two[name] for name in numbers} == pytest.approx(numbers, rel=1e-9, abs=1e-12)


def test_one_number_of_processes_serves_a_run_and_8_bits_do_not_divide(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"optimizer_bits 8: .* expected 32"):
        FSDP(**EXACT, **TWO, optimizer_bits=8).open(tiny_model)
    with closing(FSDP(**EXACT, **TWO).open(tiny_model)) as learner:
        assert "2 processes" in learner.remarks()[0]
        with pytest.raises(UserError, match="3 processes beside a learner of 2; expected one number"):
            FSDP(**EXACT, **TWO | {"processes": 3}).open(tiny_model)


def test_tokens_are_divided_only_where_they_can_be(tiny_model: Path) -> None:
    with pytest.raises(UserError, match=r"learner.context 3: .* 4 do not divide into such groups; expected .* 1, 2, 4"):
        FSDP(**EXACT, processes=4, context=3).open(tiny_model)
    placement = object.__new__(sharding.Sharded)
    placement.context = ContextGroup(None, 0, 4)
    with pytest.raises(UserError, match=r"learner.context 4: odd, so its attention can't be divided; expected .* 1"):
        placement.check(PaddedBackbone(nn.Linear(2, 2), "odd"))
    packed = backbone_of(load_model(tiny_model))
    with pytest.raises(UserError, match=r"learner.context 4: the model has 2 attention heads, .* at most 2"):
        placement.check(packed)


def test_a_process_with_other_files_of_the_model_is_refused(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded, "model_fingerprint", lambda directory: {"model.safetensors": "other"})
    with pytest.raises(UserError, match=r"rank 1 of 2 has another model in .* differs\); expected the same files"):
        FSDP(**EXACT, **TWO).open(tiny_model)


def test_a_reader_that_stops_early_leaves_the_processes_in_step(tiny_model: Path, groups: list[Group]) -> None:
    """Weights come one at a time; the others have begun to give all of them."""
    with closing(FSDP(**EXACT, **TWO).open(tiny_model)) as learner:
        first, _ = next(learner.weights())
        assert first == next(name for name, _ in learner.weights())
        assert learner.logprobs(flatten(groups), 1.0).isfinite().all()


def test_what_a_process_fails_with_ends_the_run_in_its_words(tiny_model: Path) -> None:
    learner = FSDP(**EXACT, **TWO).open(tiny_model)
    with closing(learner), pytest.raises(UserError, match=r"(?s)rank 1 failed: .*AttributeError.*no_such_thing"):
        learner._ranks.call(lambda: None, learner._number, "no_such_thing", ())


def test_a_process_that_ends_ends_the_run_with_its_rank_and_why(tiny_model: Path, groups: list[Group]) -> None:
    """Last, since it ends the processes of all tests here."""
    learner = FSDP(**EXACT, **TWO).open(tiny_model)
    os.kill(learner._ranks.processes[1].pid, signal.SIGKILL)
    for _ in range(2):
        with pytest.raises(UserError, match=r"rank 1 \(process \d+\) was ended by SIGKILL.* continues it"):
            learner.logprobs(flatten(groups), 1.0)
    learner.close()
    learner.close()


@pytest.mark.parametrize("count", [1, 3])
def test_one_process_and_three_learn_what_one_learns(count: int, tiny_model: Path, groups: list[Group]) -> None:
    case = CASES["a KL and an entropy bonus"]
    several = FSDP(**EXACT, **TWO | {"processes": count})
    with (
        closing(opened(Local(**EXACT), case, tiny_model)) as one,
        closing(opened(several, case, tiny_model)) as other,
    ):
        for _ in range(2):
            found = [learned(learner, case, groups) for learner in (other, one)]
            assert found[0] == pytest.approx(found[1], rel=1e-9, abs=1e-10)
        ours, theirs = ({name: tensor.clone() for name, tensor in learner.weights()} for learner in (other, one))
        for name, tensor in theirs.items():
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-7, msg=name)


def test_a_process_with_other_code_is_refused_before_anything_is_computed(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = {**ranks.code_fingerprint(), "torch": "1.0"}
    monkeypatch.setattr(ranks, "code_fingerprint", lambda: ours)
    with pytest.raises(UserError, match=r"rank 1 of 2 has other code: torch \d.* \(rank 0: 1\.0\); expected the same"):
        FSDP(**EXACT, **TWO).open(tiny_model)
