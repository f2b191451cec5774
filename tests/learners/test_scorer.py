"""Scorers: gradients that plain autograd finds, directories that transformers loads, toys that are learned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from groupwise import Stage, recipes
from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.learners import Local
from groupwise.learners.new_model import byte_tokenizer
from groupwise.learners.scorer import ScorerLearner, pad_token
from groupwise.seeding import stable_seed
from groupwise.tasks.task import Task
from groupwise.training.update import prepare, update
from groupwise.types import Group, Rollout, flatten

RandomGroups = Callable[..., list[Group]]
END = 1


def stage(algorithm: Algorithm, **plan: Any) -> Stage:
    return Stage("score", algorithm, Task("toy", ()), **{"steps": 1, "learning_rate": 1e-2} | plan)


def gradients(learner: ScorerLearner) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in learner.model.named_parameters() if p.grad is not None}


def open_scorer(directory: Path, **options: Any) -> ScorerLearner:
    seed = options.pop("seed", 0)
    return Local(**{"device": "cpu"} | options).open_scorer(directory, seed)


@pytest.fixture(params=["qwen3", "llama"])
def trunk(request: Any, tiny_model: Path, tmp_path: Path) -> Path:
    """A causal LM whose pad token is its own, and one whose tokenizer pads with what ends a text."""
    if request.param == "qwen3":
        return tiny_model
    config = LlamaConfig(
        vocab_size=261, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
        intermediate_size=64, max_position_embeddings=128, eos_token_id=END, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


@pytest.mark.parametrize("name", ["reward_model", "process_reward_model"])
@pytest.mark.parametrize("budget", [40, 8192])
def test_the_gradient_is_that_of_plain_autograd(
    name: str, budget: int, tiny_model: Path, random_groups: RandomGroups
) -> None:
    """Of the loss written down on transformers' own model in float64, whatever the micro-batches: pairs stay together
    though two of them do not fit."""
    learner = open_scorer(tiny_model, dtype="float64", tokens_per_micro_batch=budget)
    groups = random_groups(groups=4, size=2)
    if name != "reward_model":
        groups = [replace(group, rollouts=tuple(map(labelled, group.rollouts))) for group in groups]
    rollouts, plan = flatten(groups), stage(vars(recipes)[name])
    signals = prepare(plan, learner, groups)
    captured: dict[str, Tensor] = {}
    step = learner.step
    learner.step = lambda count, *rates: (  # type: ignore[method-assign]
        captured.update({n: g / count for n, g in gradients(learner).items()}) or step(count, *rates)
    )
    plain = torch.stack([whole_loss(learner, name, group.rollouts) for group in groups]).sum()
    plain = plain / (len(groups) if name == "reward_model" else len(rollouts))
    learner.model.zero_grad()
    plain.backward()
    expected = gradients(learner)
    learner.model.zero_grad()
    record, metrics = update(plan, learner, groups, signals, 0, 0)
    assert metrics["loss"] == pytest.approx(float(plain.detach()), rel=1e-9)
    assert record.reads == "scores"
    assert not set(metrics) & {"entropy", "kl", "engine_learner_gap", "clip_ratio/low_mean"}
    for parameter, found in captured.items():
        torch.testing.assert_close(found, expected[parameter], rtol=1e-9, atol=1e-12, msg=parameter)


def labelled(rollout: Rollout) -> Rollout:
    return replace(rollout, rewards={0: 1.0} | {len(rollout.tokens) - 1: 0.25})


def whole_loss(learner: ScorerLearner, name: str, rollouts: tuple[Rollout, ...]) -> Tensor:
    """On each completion by itself, without padding."""
    said = []
    for rollout in rollouts:
        ids = torch.tensor([[*rollout.prompt.tokens, *rollout.tokens]])
        hidden = learner.model.model(input_ids=ids).last_hidden_state
        said.append(learner.model.score(hidden)[0, len(rollout.prompt.tokens) :, 0])
    if name == "reward_model":
        return -logsigmoid(said[0][rollouts[0].last] - said[1][rollouts[1].last])
    terms = [
        -(y * logsigmoid(z[t]) + (1 - y) * logsigmoid(-z[t]))
        for z, rollout in zip(said, rollouts, strict=True)
        for t, y in rollout.rewards.items()
    ]
    return torch.stack(terms).sum()


def test_transformers_loads_what_it_saves(trunk: Path, tmp_path: Path, random_groups: RandomGroups) -> None:
    """One completion at a time, and all of them padded by the tokenizer that was saved."""
    learner, rollouts = open_scorer(trunk, seed=3), flatten(random_groups())
    for row, rollout in enumerate(rollouts):
        rollouts[row] = replace(rollout, tokens=(*rollout.tokens[:-1], END), mask=(True,) * len(rollout.tokens))
    learner.save(tmp_path / "scorer")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "scorer").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "scorer")
    assert model.config.num_labels == 1
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    sequences = [[*rollout.prompt.tokens, *rollout.tokens] for rollout in rollouts]
    batch = tokenizer.pad({"input_ids": sequences}, return_tensors="pt")
    ours = learner.score(rollouts)
    with torch.no_grad():
        for row, (rollout, ids) in enumerate(zip(rollouts, sequences, strict=True)):
            theirs = model(input_ids=torch.tensor([ids])).logits
            assert float(theirs) == pytest.approx(float(ours[row, rollout.last]), abs=1e-5)
        padded = model(**batch).logits[:, 0]
    last = torch.stack([ours[row, rollout.last] for row, rollout in enumerate(rollouts)])
    torch.testing.assert_close(padded, last, atol=1e-5, rtol=0)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in learner.model.state_dict().items())
    again = open_scorer(tmp_path / "scorer", seed=4)
    assert torch.equal(again.score(rollouts), ours)
    assert again.stop_tokens == learner.stop_tokens


def test_a_new_head_is_drawn_by_its_seed(tiny_model: Path) -> None:
    first, second, other = (open_scorer(tiny_model, seed=seed).model.score.weight for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    wide = torch.stack([open_scorer(tiny_model, seed=seed).model.score.weight.detach() for seed in range(12)])
    assert float(wide.std()) == pytest.approx(33**-0.5, rel=0.15)


def test_scores_stand_at_sampled_tokens_and_do_not_depend_on_the_batch(
    tiny_model: Path, random_groups: RandomGroups
) -> None:
    rollouts = flatten(random_groups())
    together, alone = (open_scorer(tiny_model, dtype="float64", tokens_per_micro_batch=n) for n in (8192, 1))
    found = together.score(rollouts)
    torch.testing.assert_close(found, alone.logprobs(rollouts, 0.5), rtol=1e-10, atol=1e-12)
    for row, rollout in enumerate(rollouts):
        outside = [place for place in range(found.shape[1]) if place >= len(rollout.mask) or not rollout.mask[place]]
        assert not found[row, outside].any()
    prefix = replace(rollouts[0], tokens=rollouts[0].tokens[:1], mask=(True,), behavior_logprobs=(0.0,))
    assert float(together.score([prefix])[0, 0]) == pytest.approx(float(found[0, 0]), abs=1e-12)


def test_a_state_continues_to_the_bit(tiny_model: Path, tmp_path: Path, random_groups: RandomGroups) -> None:
    plan, groups = stage(recipes.reward_model), random_groups(groups=3, size=2)
    whole = open_scorer(tiny_model)
    whole.start_stage(None)
    for step in range(4):
        update(plan, whole, groups, prepare(plan, whole, groups), step, 0)
        if step == 1:
            whole.save(tmp_path / "half")
            whole.write(tmp_path)
    half = open_scorer(tmp_path / "half", seed=9)
    half.start_stage(None)
    half.read(tmp_path)
    for step in (2, 3):
        update(plan, half, groups, prepare(plan, half, groups), step, 0)
    assert half.version == whole.version == 4
    assert all(torch.equal(dict(half.weights())[name], tensor) for name, tensor in whole.weights())


LETTERS = range(10, 18)


def test_toy_pairs_are_learned(tiny_model: Path, make_rollout: Any) -> None:
    """The better one repeats the prompt's letter; trained on six letters' pairs, right on pairs of all it has seen."""
    groups = []
    for letter in LETTERS:
        for other in LETTERS:
            if other != letter:
                pair = tuple(make_rollout([letter], [*answer, END]) for answer in ((letter, letter), (letter, other)))
                groups.append(Group(pair[0].prompt, pair))
    learner, plan = open_scorer(tiny_model, threads=1), stage(recipes.reward_model, learning_rate=3e-3, steps=40)
    metrics: dict[str, float] = {}
    for step in range(40):
        _, metrics = update(plan, learner, groups, prepare(plan, learner, groups), step, 0)
    assert metrics["score_accuracy"] == 1.0
    assert metrics["score_margin"] > 1


def test_toy_steps_are_learned_and_generalise(tiny_model: Path, make_rollout: Any) -> None:
    """A step is two letters, right where they are alike; the solutions of the test were never seen."""
    from groupwise.runs.scorer_evaluation import evaluate_scorer

    def solution(number: int) -> Group:
        draw = [stable_seed("toy", number, place) for place in range(6)]
        tokens, labels = [], {}
        for step in range(3):
            first, second = LETTERS[draw[2 * step] % 4], LETTERS[draw[2 * step + 1] % 4]
            second = first if draw[2 * step] % 3 else second
            tokens += [first, second]
            labels[2 * step + 1] = float(first == second)
        return Group(make_rollout([9], tokens).prompt, (make_rollout([9], tokens, rewards=labels),))

    learner = open_scorer(tiny_model, threads=1)
    plan = stage(recipes.process_reward_model, learning_rate=5e-3, steps=80)
    for step in range(80):
        groups = [solution(number) for number in range(32 * step, 32 * step + 32)]
        update(plan, learner, groups, prepare(plan, learner, groups), step, 0)
    found = evaluate_scorer(plan, learner, [solution(number) for number in range(10_000, 10_050)])
    assert found.measures["auc"].value > 0.95
    assert all(found.beaten()["accuracy"].values())


def test_what_a_scorer_cannot_do_is_said(tiny_model: Path, tmp_path: Path, random_groups: RandomGroups) -> None:
    learner, rollouts = open_scorer(tiny_model), flatten(random_groups())
    for ask in (
        lambda: learner.start_stage(""),
        lambda: learner.start_stage(None, "head"),
    ):
        with pytest.raises(RuntimeError, match="a scorer has no policy"):
            ask()
    assert learner.policy is None  # so that nobody asks it for values, a reference or a module to sample from
    with pytest.raises(ValueError, match="nothing of entropy"):
        learner.backward(rollouts, 1.0, lambda rows, outputs: outputs, outputs=frozenset({"entropy"}))
    learner.save(tmp_path / "scorer")
    with pytest.raises(UserError, match="holds a scorer"):
        Local(device="cpu").open(tmp_path / "scorer")


def test_a_label_that_is_no_chance_is_refused(tiny_model: Path, random_groups: RandomGroups) -> None:
    with pytest.raises(UserError, match="expected 0 to 1, the chance"):
        prepare(stage(recipes.process_reward_model), open_scorer(tiny_model), random_groups())


def test_the_pad_token_is_one_that_ends_nothing() -> None:
    own = byte_tokenizer()
    assert pad_token(own, (END,), "own") == "<|pad|>"
    own.pad_token = own.eos_token
    assert pad_token(own, (END,), "meant for it") == "<|pad|>"
    bare = PreTrainedTokenizerFast(tokenizer_object=own.backend_tokenizer, eos_token="<|end|>")
    bare.pad_token = "<|end|>"
    everything = tuple(range(5))
    with pytest.raises(UserError, match="pad_token of its own"):
        pad_token(bare, everything, "bare")
