"""This module finds combinations that can do nothing or the wrong thing: refused or named before a run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from groupwise.algorithm import (
    Algorithm,
    ClippedRatio,
    ClippedSequenceRatio,
    TeacherGap,
    Uncorrected,
)
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.protocols import Reward, StepScoring
from groupwise.rewards.model import model_rewards
from groupwise.rewards.verdicts import unwrap
from groupwise.tokens.privileged import names_in
from groupwise.training.combinations import complaints, remarks
from groupwise.training.stage import NO_WEIGHT, Stage, updates_per_draw

STEP_SCORES = (
    "those that do: process:DIR, a process reward model; steps, a rule that comes with --data stepwise; or one of your "
    "own, whose Score has steps and which states scores_steps"
)
"""Where step scores come from."""


def refuse(stage: Stage) -> None:
    """Raises UserError for a stage that cannot mean what it says."""
    complaint = next(_complaints(stage), None)
    if complaint:
        raise UserError(f"stage {stage.name}: {complaint}")


def warnings(stage: Stage) -> Iterator[str]:
    """Yields one line for each thing that works but may not be meant."""
    for remark in _remarks(stage):
        yield f"stage {stage.name}: {remark}"


def needs_reward(algorithm: Algorithm) -> bool:
    """Says whether what its source samples must be scored: for an advantage, or to choose among completions or
    groups."""
    return algorithm.source.needs_reward(algorithm)


def refuse_order(stages: Sequence[Stage]) -> None:
    """Raises UserError for a stage that cannot begin with what it names, or sample from it."""
    trained: dict[str, bool] = {}  # by stage so far: whether it trains a scorer
    last = ""
    asked_for = {name for stage in stages for name in (stage.start, *stage.algorithm.source.samples_from())}
    for stage in stages:
        if stage.name in {"first", "last"} & asked_for:
            raise UserError(
                f"a stage is named {stage.name}, which as start or in models means another model; name it otherwise"
            )
        begins = last if stage.start == "last" else stage.start
        if begins not in trained and begins not in ("", "first"):
            raise UserError(
                f"stage {stage.name}: start is {begins}; expected last, first or the name of an earlier stage"
            )
        own = trained.get(begins, False)
        others = [policy for policy in trained if not trained[policy]]
        expected = f"expected first or a policy's stage{_listed(others)}"
        if own and not stage.algorithm.trains_scorer:
            raise UserError(f"stage {stage.name}: begins with the scorer that {begins} left; {expected} as start")
        asked = [{"": begins, "last": last}.get(name, name) for name in stage.algorithm.source.samples_from()]
        scorer = next((name for name in asked if trained.get(name)), None)
        if scorer:
            raise UserError(
                f"stage {stage.name}: would sample from the scorer that {scorer} left; {expected} in models"
            )
        _refuse_listening(stage, [each.name for each in stages], trained)
        trained[stage.name], last = stage.algorithm.trains_scorer, stage.name


def _refuse_listening(stage: Stage, names: Sequence[str], trained: Mapping[str, bool]) -> None:
    """Raises UserError where a learned reward is a stage that has trained no scorer by then."""
    for reward in model_rewards((*stage.task.rewards, *stage.task.referee)):
        if reward.model in names and not trained.get(str(reward.model)):
            scorers = [name for name in trained if trained[name]]
            raise UserError(
                f"stage {stage.name}: its reward '{reward.name}' is the model of stage {reward.model}; expected an "
                f"earlier stage that trains a scorer{_listed(scorers)}, or a directory"
            )


def reward_models(stages: Sequence[Stage]) -> list[str | Path]:
    """Returns the models of learned rewards that are no stages of the run: directories or hub names."""
    names = [stage.name for stage in stages]
    rewards = [reward for stage in stages for reward in (*stage.task.rewards, *stage.task.referee)]
    return [reward.model for reward in model_rewards(rewards) if reward.model not in names]


def scores_steps(reward: Reward) -> bool:
    """Says whether it says that it scores the steps of a completion; also of one that is cached."""
    found = unwrap(reward)
    return isinstance(found, StepScoring) and found.scores_steps


def _listed(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def _complaints(stage: Stage) -> Iterator[str]:
    if list(stage.falls_at) != sorted(set(stage.falls_at)) or len(stage.falls_at) != len(stage.falls_to):
        yield (
            f"falls_at is {stage.falls_at} and falls_to is {stage.falls_to}; expected rising shares of the steps, and "
            "as many shares of the learning rate"
        )
    if stage.minibatches > stage.prompts_per_step:
        yield (
            f"{stage.minibatches} minibatches of {stage.prompts_per_step} prompts; a minibatch holds whole groups, so "
            "there can be at most as many as prompts_per_step"
        )
    if (
        stage.evaluate_every
        and len(stage.task.held_out)
        and not stage.task.is_judged
        and not (stage.algorithm.trains_scorer or stage.algorithm.source.reads_documents())
    ):
        yield (
            f"evaluate_every is {stage.evaluate_every}, and task {stage.task.name} has no reward that could say which "
            "answers are right; give it one, or a judge, or leave evaluate_every out"
        )
    if stage.algorithm.needs_verdicts and stage.task.judge and not stage.task.is_judged:
        yield (
            f"it learns from what is right, and the scores of its judge, reward {stage.task.judge.name}, only compare "
            "answers; name another judge: --judge, or Task.referee"
        )
    yield from _source_complaints(stage)
    yield from complaints(stage.algorithm)
    yield from _reference_complaints(stage)


def _reference_complaints(stage: Stage) -> Iterator[str]:
    reference = stage.algorithm.reference
    if isinstance(stage.algorithm.advantage, TeacherGap) and not (reference.model or reference.sees):
        yield (
            "a teacher is missing: algorithm.reference.model is its directory; or algorithm.reference.sees what the "
            "policy is shown beside its prompt, so that it can teach itself"
        )
    if reference.sees:
        names_in(reference.sees)
        if stage.task.episodes is not None and stage.task.budget.rewritten == "branch":
            yield (
                'reference.sees does not go with Turns(rewritten="branch"): the teacher would see more in the first '
                "sequence of an episode alone"
            )


def _source_complaints(stage: Stage) -> Iterator[str]:
    algorithm, source = stage.algorithm, stage.algorithm.source
    yield from source.task_complaints(algorithm, stage.task)
    for reward in model_rewards(stage.task.rewards):
        if reward.kind == "process" and stage.task.steps is None:
            yield f"reward {reward.name} scores steps, and task {stage.task.name} does not say what one is: Task.steps"
    if source.lag() and algorithm.needs_own_samples:
        yield (
            f"{type(source).__name__} samples {counted(source.lag(), 'step')} ahead, from weights older than those "
            f"that learn; {NO_WEIGHT}"
        )
    if source.sampled_by() == "another" and algorithm.needs_own_samples:
        yield f"{type(source).__name__} draws completions of another policy than the one that learns; {NO_WEIGHT}"


def _remarks(stage: Stage) -> Iterator[str]:
    yield from remarks(stage.algorithm)
    yield from _step_remarks(stage)
    yield from _update_remarks(stage)
    if len(stage.task.held_out) and stage.task.judge and not (stage.task.is_judged or stage.algorithm.trains_scorer):
        yield (
            f"its model is not evaluated: scores of reward {stage.task.judge.name} only compare answers, and none is "
            "right by them; --judge, or Task.referee, names who says it"
        )


def _step_remarks(stage: Stage) -> Iterator[str]:
    """Remarks on process supervision by rewards none of which speaks of steps."""
    rewards = stage.task.rewards
    if "step_rewards" not in stage.algorithm.advantage.needs() or any(map(scores_steps, rewards)) or not rewards:
        return
    named = ", ".join(reward.name for reward in rewards)
    yield (
        f"process supervision without step scores: no reward of task {stage.task.name} ({named}) says that it scores "
        f"steps, so each completion has one score, at its last token, and this is outcome supervision; {STEP_SCORES}"
    )


def _update_remarks(stage: Stage) -> Iterator[str]:
    if not stage.learning_rate:
        yield "learning_rate is 0: nothing is learned"
    algorithm, updates = stage.algorithm, updates_per_draw(stage)
    kl = algorithm.kl
    if kl.in_objective and kl.estimator == "k3" and kl.weight == "none" and updates > 1:
        yield (
            f"{updates} updates a draw with an unweighted k3 penalty: off-policy its gradient is that of neither KL; "
            "kl.weight live is the unbiased form"
        )
    if algorithm.trains_scorer:
        return
    if algorithm.source.sampled_by() == "another" or algorithm.source.lag():
        yield from _off_policy_remarks(algorithm)
    if algorithm.source.sampled_by() != "learner" or algorithm.source.lag():
        return
    if updates == 1 and isinstance(algorithm.objective, ClippedRatio | ClippedSequenceRatio):
        yield "one update a draw, so the ratio is 1 and clip low and high never apply"
    if updates == 1 and not isinstance(algorithm.correction, Uncorrected):
        yield "one update a draw by an engine that agrees with the learner: the correction is 1 for every token"
    joined = algorithm.objective.joins_group()
    if updates > 1 and "old_logprobs" not in algorithm.objective.needs() and not joined:
        yield f"{updates} updates a draw without an importance ratio: from the second on the gradient is biased"


def _off_policy_remarks(algorithm: Algorithm) -> Iterator[str]:
    """Remarks on how completions of another policy, or of an earlier version of it, are weighed, where a ratio does
    it."""
    name, whose = type(algorithm.source).__name__, "another policy"
    if steps := algorithm.source.lag():
        whose = f"the policy as it was up to {counted(steps, 'step')} before"
    if algorithm.has_ratio and not algorithm.has_anchor:
        yield (
            f"{name} draws completions of {whose}: π_old is that sampler, so the ratio is their importance "
            "weight and its clip applies from the first update on; with an algorithm.correction that weighs them the "
            "clip is around the policy before each draw"
        )
    elif algorithm.has_ratio:
        yield (
            f"{name} draws completions of {whose}: the correction is their importance weight, and the clip is "
            "around the policy before each draw"
        )
