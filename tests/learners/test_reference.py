"""Frozen policies: the present one, one that is refreshed, and a teacher from a directory."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from groupwise.algorithm import Outputs
from groupwise.errors import UserError
from groupwise.learners import Local, NewModel
from groupwise.learners.local import LocalLearner
from groupwise.learners.reference import check_same_ids
from groupwise.types import Group, flatten

Open = Callable[..., LocalLearner]
RandomGroups = Callable[..., list[Group]]
TEACHER = NewModel(hidden_size=48, layers=1, heads=2, intermediate_size=64, context_tokens=128)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of another width and depth with the policy's tokenizer."""
    directory = tmp_path_factory.mktemp("teacher") / "model"
    TEACHER.save(directory, seed=3)
    return directory


def learn(learner: LocalLearner, groups: list[Group]) -> None:
    rollouts = flatten(groups)
    learner.backward(rollouts, 1.0, lambda rows, outputs: Outputs(torch.ones_like(outputs.logprobs)))
    learner.step(len(rollouts), 1e-2)


def test_the_reference_is_the_policy_at_the_stages_start(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    with pytest.raises(RuntimeError, match="reference"):
        learner.logprobs(rollouts, 1.0, reference=True)
    learner.start_stage(reference="")
    before = learner.logprobs(rollouts, 1.0)
    learn(learner, random_groups())
    assert torch.equal(learner.logprobs(rollouts, 1.0, reference=True), before)
    assert not torch.equal(learner.logprobs(rollouts, 1.0), before)
    learner.start_stage(reference=None)
    with pytest.raises(RuntimeError, match="reference"):
        learner.logprobs(rollouts, 1.0, reference=True)


def test_a_refreshed_reference_is_the_policy_of_now(open_learner: Open, random_groups: RandomGroups) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference="")
    learn(learner, random_groups())
    learner.refresh_reference()
    now = learner.logprobs(rollouts, 1.0)
    learn(learner, random_groups())
    assert torch.equal(learner.logprobs(rollouts, 1.0, reference=True), now)


def test_a_teacher_keeps_its_own_probabilities(open_learner: Open, random_groups: RandomGroups, teacher: Path) -> None:
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=str(teacher))
    learn(learner, random_groups())
    expected = Local(device="cpu").open(teacher).logprobs(rollouts, 0.7)
    assert torch.equal(learner.logprobs(rollouts, 0.7, reference=True), expected)
    assert not torch.equal(learner.logprobs(rollouts, 0.7), expected)


def test_a_policy_that_minimises_exact_kl_comes_to_its_teacher(
    open_learner: Open, random_groups: RandomGroups, teacher: Path
) -> None:
    """On-policy distillation's gradient alone, on fixed rollouts: the mean KL falls by far."""
    learner, rollouts = open_learner(), flatten(random_groups(groups=1))
    learner.start_stage(reference=str(teacher))
    means: list[float] = []

    def minus_kl(rows: object, outputs: Outputs) -> Outputs:
        assert outputs.exact_kl is not None
        means.append(float(outputs.exact_kl.mean()))
        return Outputs(torch.zeros_like(outputs.logprobs), exact_kl=-torch.ones_like(outputs.logprobs))

    for _ in range(15):
        learner.backward(rollouts, 1.0, minus_kl, outputs=frozenset({"exact_kl"}))
        learner.step(len(rollouts), 1e-2)
    assert means[-1] < means[0] / 4


def test_exact_kl_needs_a_reference(open_learner: Open, random_groups: RandomGroups) -> None:
    with pytest.raises(RuntimeError, match="no reference policy"):
        open_learner().backward(flatten(random_groups()), 1.0, lambda rows, outputs: outputs, frozenset({"exact_kl"}))


def test_a_teacher_with_another_vocabulary_is_refused(open_learner: Open, teacher: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    path = Path(shutil.copytree(teacher, tmp_path / "bigger"))
    model = AutoModelForCausalLM.from_pretrained(path)
    entries = model.config.vocab_size
    model.resize_token_embeddings(entries + 3)
    model.save_pretrained(path)
    with pytest.raises(UserError) as caught:
        open_learner().start_stage(reference=str(path))
    assert f"has {entries + 3} entries and the policy's {entries}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_teacher_with_other_ids_is_refused(open_learner: Open, teacher: Path, tmp_path: Path) -> None:
    """Two tokens have changed places: the same size, another language."""
    path = Path(shutil.copytree(teacher, tmp_path / "shuffled"))
    file = path / "tokenizer.json"
    tokenizer = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    a, b = [token for token in vocabulary if len(token) == 1 and token.isalpha() and token.isascii()][:2]
    vocabulary[a], vocabulary[b] = vocabulary[b], vocabulary[a]
    file.write_text(json.dumps(tokenizer), encoding="utf-8")
    with pytest.raises(UserError, match="2 tokens not the same") as caught:
        open_learner().start_stage(reference=str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_first_different_token_is_named() -> None:
    check_same_ids("there", {"a": 1, "b": 2}, {"b": 2, "a": 1})
    with pytest.raises(UserError, match=r"1 token not the same, 'b' first \(id 3 there, 2 in the policy's\)"):
        check_same_ids("there", {"a": 1, "b": 3}, {"a": 1, "b": 2})
    with pytest.raises(UserError, match=r"'c' first \(id none there, 3 in"):
        check_same_ids("there", {"a": 1}, {"a": 1, "c": 3})


def test_a_reference_that_is_not_there_is_refused(open_learner: Open, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such model directory"):
        open_learner().start_stage(reference=str(tmp_path / "nowhere"))


def test_kept_support_holds_for_policy_and_reference_alike(
    open_learner: Open, random_groups: RandomGroups, teacher: Path
) -> None:
    """Where only the drawn token was kept, both are certain of it; elsewhere nothing changes."""
    learner, rollouts = open_learner(), flatten(random_groups())
    learner.start_stage(reference=str(teacher))
    narrowed = [replace(rollouts[0], support=tuple((token,) for token in rollouts[0].tokens)), *rollouts[1:]]
    for reference in (False, True):
        whole, kept = (learner.logprobs(rows, 1.0, reference) for rows in (rollouts, narrowed))
        assert whole[0].any()
        assert not kept[0].any()
        torch.testing.assert_close(kept[1:], whole[1:], rtol=1e-5, atol=1e-5)
