"""A policy that is its own teacher, who sees more of each row: what it reads, and what becomes of that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groupwise import FrozenPolicy, Native, OnPolicy, recipes
from groupwise.algorithm import KL, Algorithm, Constant, Outputs, Reference
from groupwise.errors import UserError
from groupwise.learners.local import LocalLearner
from groupwise.learning.train_batch import TrainBatch
from groupwise.rewards import FinalAnswer
from groupwise.sources.draw import DrawContext
from groupwise.sources.offline_files import from_plain, plain
from groupwise.tasks.task import Task
from groupwise.tokens.privileged import longest
from groupwise.tokens.renderer import Renderer
from groupwise.training.checks import refuse
from groupwise.training.stage import Stage, draw_context, in_stage
from groupwise.training.update import prepare
from groupwise.types import Example, Group, Prompt, flatten

Open = Callable[..., LocalLearner]
ROWS = tuple(Example(f"rows:{n}", f"{n}+1=", f"{n + 1}!", answer=str(n + 1)) for n in range(6))
TASK = Task("sums", ROWS)
SEES = "{prompt} is {answer}. {prompt}"
TEACHES = replace(recipes.opsd, source=OnPolicy(group_size=2, max_completion_tokens=5), reference=Reference(sees=SEES))


def stage(algorithm: Algorithm = TEACHES, task: Task = TASK) -> Stage:
    return Stage("teach", algorithm, task, steps=2, prompts_per_step=3)


def world(learner: LocalLearner, made: Stage) -> DrawContext:
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    return draw_context(made, renderer, Native().open(learner.directory, learner.live_module(), learner.tokenizer), 0)


@pytest.fixture
def learner(open_learner: Open) -> LocalLearner:
    found = open_learner()
    found.start_stage("")
    return found


@pytest.fixture
def groups(learner: LocalLearner) -> list[Group]:
    return TEACHES.source.draw(world(learner, stage()), {}).groups


def test_the_teacher_reads_the_answer_and_the_policy_does_not(learner: LocalLearner, groups: list[Group]) -> None:
    renderer = Renderer(learner.tokenizer, eos_tokens=learner.stop_tokens)
    for group in groups:
        prompt, row = group.prompt, group.prompt.example
        assert prompt.tokens == renderer.prompt(row).tokens
        told = f"{row.prompt} is {row.answer}. {row.prompt}"
        assert prompt.reference_tokens == renderer.prompt(replace(row, prompt=told)).tokens
        assert longest(prompt) == len(prompt.reference_tokens) > len(prompt.tokens)
        assert row in ROWS


def test_its_log_probabilities_are_those_behind_what_it_reads(learner: LocalLearner, groups: list[Group]) -> None:
    """Of the same tokens; and the advantage is by how much it finds them likelier."""
    signals, rollouts = prepare(stage(), learner, groups), flatten(groups)
    told = [replace(rollout, prompt=Prompt(ROWS[0], rollout.prompt.reference_tokens)) for rollout in rollouts]
    expected = learner.logprobs(told, 1.0).double()
    torch.testing.assert_close(signals.reference_logprobs, expected, rtol=0, atol=1e-6)
    gap = torch.where(signals.mask, expected - learner.logprobs(rollouts, 1.0), 0.0)
    torch.testing.assert_close(signals.advantages, gap, rtol=0, atol=1e-6)
    assert gap.abs().max() > 1e-3


def test_over_the_whole_vocabulary_it_reads_the_same(learner: LocalLearner, groups: list[Group]) -> None:
    """The exact reverse KL, by hand from the logits of a model that is shown either text."""
    exact = replace(TEACHES, advantage=Constant(0.0), kl=KL(1.0, "exact"))
    rollouts = flatten(groups)
    batch = TrainBatch.of(exact, rollouts, prepare(stage(exact), learner, groups))
    found = torch.zeros(batch.signals.mask.shape)

    def keep(rows: list[int], outputs: Outputs) -> Outputs:
        assert outputs.exact_kl is not None
        found[torch.tensor(rows), : outputs.exact_kl.shape[1]] = outputs.exact_kl.float()
        return Outputs(torch.zeros_like(outputs.logprobs), exact_kl=torch.zeros_like(outputs.exact_kl))

    learner.backward(rollouts, 1.0, keep, outputs=frozenset({"exact_kl"}))
    for row, rollout in enumerate(rollouts):
        student, teacher = (
            learner.model(torch.tensor([[*prompt, *rollout.tokens]])).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
            for prompt in (rollout.prompt.tokens, rollout.prompt.reference_tokens)
        )
        by_hand = (student.exp() * (student - teacher)).sum(dim=-1)
        torch.testing.assert_close(found[row, : len(by_hand)], by_hand.detach().float(), rtol=1e-4, atol=1e-5)
    assert found.max() > 1e-4


def test_a_frozen_teacher_stays_and_one_that_is_renewed_does_not(learner: LocalLearner, groups: list[Group]) -> None:
    rollouts = flatten(groups)
    before = learner.logprobs(rollouts, 1.0, reference=True)
    learner.backward(rollouts, 1.0, lambda rows, outputs: Outputs(torch.ones_like(outputs.logprobs)))
    learner.step(len(rollouts), 1e-2)
    assert torch.equal(learner.logprobs(rollouts, 1.0, reference=True), before)
    learner.refresh_reference()
    assert not torch.equal(learner.logprobs(rollouts, 1.0, reference=True), before)


def test_what_it_reads_must_fit_the_context_too(learner: LocalLearner) -> None:
    long = (*ROWS[:2], replace(ROWS[2], answer="4" * 200))
    draw = TEACHES.source.draw(world(learner, stage(task=Task("sums", long))), {})
    assert draw.metrics["prompts_too_long"] == 1.0
    assert {group.prompt.example.id for group in draw.groups} == {"rows:0", "rows:1"}


def test_a_row_without_an_answer_is_named(learner: LocalLearner) -> None:
    lacking = Task("sums", (Example("rows:9", "1+1="),))
    with pytest.raises(UserError, match=r"rows:9: reference.sees names \{answer\}"):
        TEACHES.source.draw(world(learner, stage(task=lacking)), {})


def test_another_stage_s_renderer_knows_nothing_of_it(learner: LocalLearner) -> None:
    here = world(learner, stage())
    assert here.renderer.reference_sees == SEES
    assert in_stage(stage(recipes.grpo), here).renderer.prompt(ROWS[0]).reference_tokens == ()
    assert in_stage(stage(), here).renderer is here.renderer


def test_a_draw_that_was_kept_keeps_it(groups: list[Group]) -> None:
    for group in groups:
        assert from_plain(plain(group), group.prompt.example) == group
    other = replace(groups[0], prompt=Prompt(ROWS[0], (1, 2)))
    assert "reference_tokens" not in plain(other)


def test_completions_without_what_it_reads_are_refused(learner: LocalLearner, groups: list[Group]) -> None:
    bare = [
        Group(prompt, tuple(replace(rollout, prompt=prompt) for rollout in group.rollouts))
        for group in groups
        for prompt in [replace(group.prompt, reference_tokens=())]
    ]
    with pytest.raises(UserError, match=r"not kept with these completions.*OnPolicy\(\)"):
        prepare(stage(), learner, bare)


def test_options_that_mean_nothing_are_refused() -> None:
    scored = Task("sums", ROWS, (FinalAnswer(),))

    def message(algorithm: Algorithm) -> str:
        with pytest.raises(UserError) as raised:
            refuse(stage(algorithm, scored))
        return str(raised.value)

    alone = replace(TEACHES, reference=Reference())
    assert "algorithm.reference.sees" in message(alone)
    assert "reference.sees is never read" in message(replace(recipes.dr_grpo, reference=Reference(sees=SEES)))
    assert "has no {prompt}" in message(replace(TEACHES, reference=Reference(sees="{answer}")))
    refuse(stage(replace(recipes.grpo, reference=Reference(sees=SEES)), scored))
    refuse(stage())
    refuse(stage(replace(TEACHES, source=FrozenPolicy(), advantage=recipes.grpo.advantage, kl=KL(0.1)), scored))


def test_a_run_of_it_says_what_its_teacher_reads(tmp_path: Path, roomy_model: Path, capsys) -> None:
    from groupwise.cli import main

    data = tmp_path / "train.jsonl"
    data.write_text('{"question": "1+1=", "answer": "2"}\n' * 4)
    given = ["run", "opsd", "--model", str(roomy_model), "--data", str(data), "--algorithm.reference.sees", "{prompt}"]
    assert main([*given, "--dry_run"]) == 0
    assert '"sees": "{prompt}"' in capsys.readouterr().out
