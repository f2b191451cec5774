"""What every learner promises (``trainable.Trainable`` and ``trainable.Policy``). Another one joins by one line."""

from __future__ import annotations

import importlib.util
import json
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from groupwise import HeldOut, Native, NewModel, OnPolicy, Run, recipes
from groupwise.algorithm import Algorithm, Entropy
from groupwise.learners import FSDP, Local, Lora
from groupwise.learning.tally import Tally
from groupwise.learning.train_batch import TrainBatch
from groupwise.learning.trainable import Trainable
from groupwise.rewards import as_reward
from groupwise.runs.session import run
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage
from groupwise.training.update import prepare
from groupwise.types import Example, Group, Rollout, flatten

pytestmark = pytest.mark.usefixtures("exact_norms", "warm_ranks")


def beside(name: str) -> Any:
    """A module of this folder."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


elsewhere = beside("elsewhere")
Elsewhere, IDLE = elsewhere.Elsewhere, elsewhere.IDLE
EXACT = {"device": "cpu", "threads": 1, "dtype": "float64", "tokens_per_micro_batch": 40}
HALF = EXACT | {"dtype": "bfloat16"}
GRPO = replace(recipes.grpo, entropy=Entropy(0.01))
EXACT_KL = replace(GRPO, kl=replace(GRPO.kl, estimator="exact"))
OWN_CRITIC = replace(recipes.ppo, critic=replace(recipes.ppo.critic, network="own"))
ALL = replace(OWN_CRITIC, kl=replace(EXACT_KL.kl, coefficient=0.05), entropy=Entropy(0.01))


@dataclass(frozen=True)
class Kind:
    """One implementation, with options, and what it is asked to learn with."""

    open: Callable[[Path], Trainable]
    algorithm: Algorithm = GRPO
    rounding: float = 1e-9
    """The relative difference that another order of adding may make."""
    processes: int = 1
    """Each of them takes a micro-batch at the same time."""
    names: bool = True
    """Whether its weights are the checkpoint's; with adapters beside half precision they are not."""


KINDS = {
    "local": Kind(Local(**EXACT).open),
    "an exact KL to the reference": Kind(Local(**EXACT).open, EXACT_KL),
    "adapters": Kind(Local(**EXACT, lora=Lora(rank=2)).open),
    "a critic's head": Kind(Local(**EXACT).open, recipes.ppo),
    "a critic of its own": Kind(Local(**EXACT).open, OWN_CRITIC),
    "half precision": Kind(Local(**HALF).open, rounding=0.05),
    "adapters in half precision": Kind(Local(**HALF, lora=Lora(rank=2)).open, rounding=0.05, names=False),
    "8 bits, checkpointing": Kind(Local(**EXACT, optimizer_bits=8, checkpointing=True).open, rounding=1e-6),
    "pairs": Kind(Local(**EXACT).open, recipes.dpo),
    "a scorer": Kind(Local(**EXACT).open_scorer, recipes.reward_model),
    "a scorer of steps": Kind(Local(**EXACT).open_scorer, recipes.process_reward_model),
    "elsewhere": Kind(Elsewhere(**EXACT).open),
    "two processes": Kind(FSDP(**EXACT, processes=2, timeout_seconds=60).open, ALL, processes=2),
}
every = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
IMPLEMENTATIONS = (
    "local",
    "adapters in half precision",
    "a critic of its own",
    "a scorer",
    "elsewhere",
    "two processes",
)
implementations = pytest.mark.parametrize("kind", [KINDS[name] for name in IMPLEMENTATIONS], ids=IMPLEMENTATIONS)
"""Of what does not depend on what is learned: one of each kind of code."""


def stage_of(algorithm: Algorithm) -> Stage:
    return Stage("stage", algorithm, Task("task", ()), 4, learning_rate=1e-3)


def begun(learner: Trainable, algorithm: Algorithm) -> Trainable:
    """In a stage, with a policy that is no longer its reference."""
    reference = algorithm.reference.model if algorithm.needs_reference else None
    learner.start_stage(reference, algorithm.critic.network)
    return learner


@pytest.fixture
def groups(random_groups: Callable[..., list[Group]]) -> list[Group]:
    """Pairs, with labels between 0 and 1; no two completions of a group are equally good."""
    made = []
    for number, group in enumerate(random_groups(groups=4, size=2)):
        scored = [
            replace(rollout, rewards={rollout.last: (0.25 + 0.5 * (row + number) % 1)})
            for row, rollout in enumerate(group.rollouts)
        ]
        made.append(Group(group.prompt, tuple(scored)))
    return made


@dataclass
class Bench:
    """Opens learners of one kind on one model, and closes them."""

    kind: Kind
    model: Path
    groups: list[Group]
    opened: list[Trainable]

    def learner(self, directory: Path | None = None) -> Trainable:
        self.opened.append(self.kind.open(directory or self.model))
        return begun(self.opened[-1], self.kind.algorithm)

    def batch(self, learner: Trainable) -> TrainBatch:
        signals = prepare(stage_of(self.kind.algorithm), learner, self.groups)
        return TrainBatch.of(self.kind.algorithm, flatten(self.groups), signals)

    def learned(self, learner: Trainable, steps: int = 1, rate: float = 1e-3) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for _ in range(steps):
            batch = self.batch(learner)
            tally = learner.accumulate(batch, self.kind.algorithm)
            metrics = learner.step(tally.count, rate, rate)
        return metrics


@pytest.fixture
def bench(kind: Kind, tiny_model: Path, shallow_model: Path, groups: list[Group]) -> Iterator[Bench]:
    """The first kind and that of several processes with two layers."""
    deep = kind in (KINDS["local"], KINDS["two processes"])
    made = Bench(kind, tiny_model if deep else shallow_model, groups, [])
    yield made
    for learner in made.opened:
        learner.close()
        learner.close()


def weights(learner: Trainable) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in learner.weights()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def table(tally: Tally, name: str, rows: int) -> Tensor:
    """``[rows, T]`` in the order of the draw."""
    placed = torch.zeros(rows, 20)
    found = getattr(tally, name)
    if found is not None:
        placed[list(tally.rows), : found.shape[1]] = found
    return placed


def splits(batch: TrainBatch, joined: bool) -> dict[str, list[Sequence[int]]]:
    """Ways to take a batch apart; groups that are seen together stay whole."""
    size, group = len(batch.rows), batch.signals.group.tolist()
    found: dict[str, list[Sequence[int]]] = {
        "groups": [[row for row in range(size) if group[row] == number] for number in sorted(set(group), reverse=True)],
        "halves": [range(size // 2, size), range(size // 2)],
    }
    return found if joined else found | {"odd and even": [range(1, size, 2), range(0, size, 2)]}


@every
def test_any_split_of_a_batch_gives_the_same_gradient_and_tally(bench: Bench, kind: Kind) -> None:
    whole = bench.learner()
    bench.learned(whole)  # so that the reference is another policy, and the critic says something
    batch, start = bench.batch(whole), weights(whole)
    expected = whole.accumulate(batch, kind.algorithm)
    metrics = whole.step(expected.count, 1e-3, 1e-3)
    assert expected.rows != batch.rows  # micro-batches are made by length
    assert metrics["grad_norm"] > 0
    for name, parts in splits(batch, kind.algorithm.objective.joins_group()).items():
        with closing(bench.learner()) as other:
            bench.learned(other)
            assert same(weights(other), start)
            tallies = [other.accumulate(batch.part(part), kind.algorithm) for part in parts]
            found = tallies[0]
            for tally in tallies[1:]:
                found = found + tally
            close = {"rel": kind.rounding, "abs": kind.rounding}
            for part in ("count", "tokens", "own_tokens"):
                assert getattr(found, part) == pytest.approx(getattr(expected, part)), (name, part)
            assert dict(found.sums) == pytest.approx(dict(expected.sums), **close), name
            for measure, pair in expected.means.items():
                assert found.means[measure] == pytest.approx(pair, **close), (name, measure)
            assert sorted(found.rows) == list(range(len(batch.rows)))
            for column in ("logprobs", "coefficients", "entropy"):
                tables = [table(tally, column, len(batch.rows)) for tally in (found, expected)]
                torch.testing.assert_close(*tables, rtol=max(kind.rounding, 1e-6), atol=max(kind.rounding, 1e-6))
            again = other.step(found.count, 1e-3, 1e-3)
            assert again == pytest.approx(metrics, rel=max(kind.rounding, 1e-8)), name
            if kind.rounding < 1e-6:
                moved = weights(other)
                for weight, tensor in whole.weights():
                    torch.testing.assert_close(moved[weight], tensor, rtol=1e-7, atol=1e-7, msg=f"{name}: {weight}")


@implementations
def test_discarding_leaves_nothing_of_a_gradient(bench: Bench, kind: Kind) -> None:
    plain, other = bench.learner(), bench.learner()
    other.accumulate(bench.batch(other), kind.algorithm)
    other.discard()
    other.discard()
    assert bench.learned(plain) == bench.learned(other)
    assert same(weights(plain), weights(other))


@implementations
def test_a_step_divides_by_the_count_and_is_one_version(bench: Bench, kind: Kind) -> None:
    once, twice = bench.learner(), bench.learner()
    assert once.version == 0
    metrics = bench.learned(once)
    tally = Tally()
    for _ in range(2):
        tally += twice.accumulate(bench.batch(twice), kind.algorithm)
    assert twice.version == 0
    assert tally.count == 2 * once.accumulate(bench.batch(once), kind.algorithm).count
    once.discard()
    assert twice.step(tally.count, 1e-3, 1e-3) == pytest.approx(metrics, rel=max(kind.rounding, 1e-8))
    assert once.version == twice.version == 1
    assert metrics["skipped_updates"] == 0
    assert metrics["learning_rate"] == 1e-3


@every
def test_what_was_written_and_read_makes_the_same_next_step(bench: Bench, kind: Kind, tmp_path: Path) -> None:
    straight, directory = bench.learner(), tmp_path / "checkpoint"
    bench.learned(straight, 2)
    directory.mkdir()
    straight.save(directory)
    saved = {path.name for path in directory.iterdir()}
    straight.write(directory)
    written = sum(path.stat().st_size for path in directory.iterdir() if path.name not in saved)
    assert straight.memory.written_bytes() <= written <= straight.memory.written_bytes() + 100_000
    assert not any(path.suffix in {".pt", ".bin", ".pkl"} for path in directory.rglob("*"))  # nothing that is run
    resumed = bench.learner(directory)
    resumed.read(directory)
    assert resumed.version == straight.version == 2
    assert bench.learned(resumed) == bench.learned(straight)
    assert same(weights(resumed), weights(straight))
    assert bench.learned(resumed, 2) == bench.learned(straight, 2)


@every
def test_weights_are_those_of_the_checkpoint_and_a_tied_head_has_both_names(
    bench: Bench, kind: Kind, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    learner = bench.learner()
    bench.learned(learner)
    names = [name for name, _ in learner.weights()]
    assert len(set(names)) == len(names)
    assert learner.memory.saved_bytes() >= sum(tensor.nbytes for tensor in set(dict(learner.weights()).values())) / 2
    if not kind.names:
        return
    learner.save(tmp_path)
    cls = AutoModelForCausalLM if learner.policy else AutoModelForSequenceClassification
    state = cls.from_pretrained(tmp_path, dtype="auto").state_dict()
    assert sorted(names) == sorted(state)
    for name, tensor in learner.weights():
        assert torch.equal(tensor.to(state[name].dtype), state[name]), name
        assert not tensor.requires_grad
    assert bool(learner.policy) == ("lm_head.weight" in names)
    assert len(load_file(tmp_path / "model.safetensors")) >= len(names) - 1


@implementations
def test_a_number_that_is_not_finite_is_named_by_its_row_of_the_draw(bench: Bench, kind: Kind) -> None:
    learner = bench.learner()
    before, batch = weights(learner), bench.batch(learner)
    assert batch.signals.advantages is not None
    row = 5
    batch.signals.advantages[row] = float("inf")
    tally = learner.accumulate(batch.part([4, 5, 6, 7]), kind.algorithm)
    assert tally.bad is not None
    assert (tally.bad.kind, tally.bad.row) == ("advantages", row)
    assert tally.bad.example == batch.rollouts[row].prompt.example.id
    learner.discard()
    assert same(weights(learner), before)
    assert learner.version == 0


@implementations
def test_whoever_listens_hears_of_every_row_and_may_break_off(bench: Bench, kind: Kind) -> None:
    plain, other = bench.learner(), bench.learner()
    heard: list[int] = []
    plain.accumulate(bench.batch(plain), kind.algorithm, on_rows=heard.append)
    assert sum(heard) == len(flatten(bench.groups))
    assert len(heard) * kind.processes > 1
    plain.discard()

    def stop(rows: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.accumulate(bench.batch(other), kind.algorithm, on_rows=stop)
    other.discard()
    assert bench.learned(other) == bench.learned(plain)


@implementations
def test_questions_about_memory_change_nothing(bench: Bench, kind: Kind) -> None:
    plain, asked = bench.learner(), bench.learner()
    memory, rollouts = asked.memory, flatten(bench.groups)
    together = [row // 2 for row in range(len(rollouts))] if kind.algorithm.objective.joins_group() else None
    memory.try_step(rollouts, kind.algorithm.outputs, together)
    assert "fits" in memory.rehearse(rollouts, kind.algorithm.outputs, together)
    assert 0 < memory.largest_micro_batch(rollouts, together) <= memory.tokens_per_micro_batch == 40
    assert memory.step_bytes(2_000) > memory.step_bytes(1_000) > 0
    assert memory.is_tight(10**13)
    assert memory.free_bytes() > 0
    assert memory.weight_bytes() > 30_000
    assert asked.version == 0
    assert bench.learned(asked) == bench.learned(plain)
    assert same(weights(asked), weights(plain))


@implementations
def test_a_policy_is_asked_as_one_and_a_scorer_is_none(bench: Bench, kind: Kind) -> None:
    learner, rollouts = bench.learner(), flatten(bench.groups)
    assert learner.threads == 1
    assert learner.context_tokens == 128
    assert learner.stop_tokens
    assert learner.logprobs(rollouts, 1.0).shape == (len(rollouts), max(len(each.tokens) for each in rollouts))
    policy = learner.policy
    assert (policy is None) == kind.algorithm.trains_scorer
    if policy is None:
        with pytest.raises(RuntimeError, match="no policy"):
            learner.start_stage("")
        return
    policy.start_stage("")
    bench.learned(begun(policy, kind.algorithm), 1)
    policy.start_stage("")
    now = policy.logprobs(rollouts, 1.0)
    torch.testing.assert_close(policy.logprobs(rollouts, 1.0, reference=True), now, rtol=1e-2, atol=1e-2)
    policy.refresh_reference()
    assert isinstance(policy.merge_loss(), str)


@every
def test_a_reference_that_sees_more_reads_what_prompts_have_for_it(bench: Bench, kind: Kind) -> None:
    """The same tokens behind another prompt; the policy's own log-probabilities stay as they are."""
    policy, rollouts = bench.learner().policy, flatten(bench.groups)
    if policy is None:
        return
    policy.start_stage("")
    more = (7, 8, 9, 10)
    told = [replace(rollout, prompt=replace(rollout.prompt, reference_tokens=more)) for rollout in rollouts[:-1]]
    behind = [replace(rollout, prompt=replace(rollout.prompt, tokens=more)) for rollout in rollouts[:-1]]
    found = policy.logprobs([*told, rollouts[-1]], 1.0, reference=True)
    expected = policy.logprobs([*behind, rollouts[-1]], 1.0, reference=True)
    torch.testing.assert_close(found, expected, rtol=kind.rounding, atol=kind.rounding)
    own = policy.logprobs([*told, rollouts[-1]], 1.0)
    torch.testing.assert_close(own, policy.logprobs(rollouts, 1.0), rtol=kind.rounding, atol=kind.rounding)
    assert not torch.allclose(found[:-1], own[:-1], rtol=1e-2, atol=1e-2)


def test_an_engine_with_a_head_of_its_own_gets_the_head(tiny_model: Path, groups: list[Group]) -> None:
    """One that was opened on a copy where the head is no longer the embedding: it must not stay as it was."""
    from transformers import AutoModelForCausalLM

    from groupwise.types import Request, Sampling

    learner = begun(Local(device="cpu", threads=1).open(tiny_model), recipes.sft)
    copy = AutoModelForCausalLM.from_pretrained(tiny_model)
    assert copy.lm_head.weight is copy.model.embed_tokens.weight
    copy.lm_head.weight = nn.Parameter(copy.lm_head.weight.detach().clone(), requires_grad=False)
    engine = Native(threads=1).open(tiny_model, copy, learner.tokenizer)
    ones = [replace(group, rollouts=group.rollouts[:1]) for group in groups]
    bench = Bench(Kind(Local().open, recipes.sft), tiny_model, ones, [])
    bench.learned(learner, 2, rate=3e-2)
    engine.load(learner.weights(), learner.version)
    [(_, _, drawn)] = engine.generate([Request((5, 9, 13), (1,))], Sampling(8))
    prompt, size = replace(groups[0].prompt, tokens=(5, 9, 13)), len(drawn.tokens)
    rollout = Rollout(prompt, drawn.tokens, (True,) * size, drawn.logprobs, "", True, 2)
    expected = learner.logprobs([rollout], 1.0)[0]
    torch.testing.assert_close(torch.tensor(drawn.logprobs), expected, rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match=r"no new weights for model\.embed_tokens\.weight"):
        engine.load(((name, tensor) for name, tensor in learner.weights() if "embed" not in name), 3)


def bits(value: Any) -> Any:
    """What can be compared with ``==``, tensors by their bytes."""
    if isinstance(value, Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    if isinstance(value, tuple | list):
        return [bits(part) for part in value]
    if isinstance(value, dict):
        return {name: bits(part) for name, part in value.items()}
    if hasattr(value, "__dataclass_fields__"):
        return {field.name: bits(getattr(value, field.name)) for field in fields(value)}
    return value


@pytest.mark.parametrize("name", ["local", "a critic's head", "pairs"])
def test_a_batch_and_its_tally_are_the_same_bits_from_another_process(
    name: str, tiny_model: Path, groups: list[Group]
) -> None:
    """Learned from there and here: the same tally, the same step, the same weights."""
    kind = KINDS[name]
    here = Bench(kind, tiny_model, groups, [])
    there = Bench(replace(kind, open=Elsewhere(**EXACT).open), tiny_model, groups, [])
    with closing(here.learner()) as ours, closing(there.learner()) as theirs:
        here.learned(ours)
        there.learned(theirs)
        batch = here.batch(ours)
        assert bits(pickle.loads(pickle.dumps(batch))) == bits(batch)
        tallies = [learner.accumulate(batch, kind.algorithm) for learner in (ours, theirs)]
        assert bits(tallies[0]) == bits(tallies[1])
        assert ours.step(tallies[0].count, 1e-3, 1e-3) == theirs.step(tallies[1].count, 1e-3, 1e-3)
        assert same(weights(ours), weights(theirs))


def letters(completions: list[str], **columns: Any) -> list[float]:
    return [float(sum(map(ord, text)) % 7) for text in completions]


def test_a_run_with_its_learner_elsewhere_is_the_same_run(tmp_path: Path) -> None:
    """Policy stages and a scorer's, broken off at no place: the engine has a model of its own, and the head comes by
    both names."""
    rows = [
        Example(f"row:{n}", f"{n}+1=", f"{n + 1}", columns={"chosen": f"{n + 1}", "rejected": f"{n}"}) for n in range(6)
    ]
    source = OnPolicy(group_size=4, max_completion_tokens=6)
    task, budget = Task("rows", tuple(rows), held_out=tuple(rows[:2])), {"steps": 2, "prompts_per_step": 3}
    scored = replace(task, rewards=(as_reward(letters),))
    stages = (
        Stage("begin", recipes.sft, task, **budget, learning_rate=1e-2),
        Stage("judge", recipes.reward_model, task, **budget, learning_rate=1e-2),
        Stage("learn", replace(recipes.grpo, source=source), scored, **budget, minibatches=2, start="begin"),
    )
    model = NewModel(hidden_size=32, layers=1, heads=2, intermediate_size=64, context_tokens=64)
    found = []
    for learner in (Local(device="cpu", threads=1), Elsewhere(device="cpu", threads=1)):
        plan = Run("elsewhere", model, stages, learner, evaluation=HeldOut(problems=2, max_completion_tokens=6))
        outcome = run(plan, tmp_path / type(learner).__name__, sinks=[])
        models = [outcome.directory / "models" / stage.name / "model.safetensors" for stage in stages]
        metrics = [json.loads(line) for line in (outcome.directory / "metrics.jsonl").read_text().splitlines()]
        learned = [{name: row[name] for name in ("loss", "grad_norm", "learning_rate")} for row in metrics]
        found.append(([path.read_bytes() for path in models], learned))
    assert found[0] == found[1]
    assert all(process.poll() is None for process in IDLE)  # let go by the runs, not lost


@pytest.mark.parametrize("name", recipes.__all__)
def test_every_recipe_can_be_sent_to_another_process(name: str) -> None:
    algorithm = vars(recipes)[name]
    assert pickle.loads(pickle.dumps(algorithm)) == algorithm
