"""Combinations that can do nothing or the wrong thing: refused or named before a run starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from groupwise.algorithm import (
    GAE,
    Algorithm,
    ClippedRatio,
    ClippedSequenceRatio,
    ConstantLength,
    GroupRelative,
    ProcessRelative,
    TeacherGap,
    Uncorrected,
)
from groupwise.errors import UserError
from groupwise.protocols import Reward
from groupwise.rewards.model import ModelReward
from groupwise.sources import (
    AllRollouts,
    Demonstrations,
    FrozenPolicy,
    MonteCarloSteps,
    OnPolicy,
    Pairs,
    StepLabels,
)
from groupwise.stage import Stage
from groupwise.verdicts import bare


def refuse(stage: Stage) -> None:
    """Raises UserError for a stage that cannot mean what it says."""
    complaint = next(_complaints(stage), None)
    if complaint:
        raise UserError(f"stage {stage.name}: {complaint}")


def warnings(stage: Stage) -> Iterator[str]:
    """One line for each thing that works but may not be meant."""
    for remark in _remarks(stage):
        yield f"stage {stage.name}: {remark}"


def needs_reward(algorithm: Algorithm) -> bool:
    """Whether what its source samples must be scored: for an advantage, or to choose among completions or groups."""
    source = algorithm.source
    labelled = isinstance(source, FrozenPolicy) and "step_rewards" in algorithm.objective.needs()
    if labelled or isinstance(source, MonteCarloSteps):
        return True
    if isinstance(source, OnPolicy | FrozenPolicy):
        redraws = isinstance(source, OnPolicy) and source.without_signal != "keep"
        return redraws or algorithm.advantage.judges() or not isinstance(source.select, AllRollouts)
    return False


def refuse_order(stages: Sequence[Stage]) -> None:
    """Raises UserError for a stage that cannot begin with what it names, or sample from it."""
    trained: dict[str, bool] = {}  # by stage so far: whether it trains a scorer
    last = ""
    asked_for = {name for stage in stages for name in (stage.start, *(_models(stage) or ()))}
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
        named = _models(stage)
        asked = None if named is None else [{"": begins, "last": last}.get(name, name) for name in named or ("",)]
        scorer = next((name for name in asked or () if trained.get(name)), None)
        if scorer:
            raise UserError(
                f"stage {stage.name}: would sample from the scorer that {scorer} left; {expected} in models"
            )
        _refuse_listening(stage, [each.name for each in stages], trained)
        trained[stage.name], last = stage.algorithm.trains_scorer, stage.name


def _models(stage: Stage) -> Sequence[str] | None:
    """Those that it says it samples from; None where it samples from none or from itself."""
    source = stage.algorithm.source
    return source.models if isinstance(source, FrozenPolicy | MonteCarloSteps) else None


def _refuse_listening(stage: Stage, names: Sequence[str], trained: Mapping[str, bool]) -> None:
    """Raises UserError where a learned reward is a stage that has trained no scorer by then."""
    for reward in _learned((*stage.task.rewards, *stage.task.referee)):
        if reward.model in names and not trained.get(str(reward.model)):
            scorers = [name for name in trained if trained[name]]
            raise UserError(
                f"stage {stage.name}: its reward '{reward.name}' is the model of stage {reward.model}; expected an "
                f"earlier stage that trains a scorer{_listed(scorers)}, or a directory"
            )


def learned_from(stages: Sequence[Stage]) -> list[str | Path]:
    """The models of learned rewards that are no stages of the run: directories or hub names."""
    names = [stage.name for stage in stages]
    rewards = [reward for stage in stages for reward in (*stage.task.rewards, *stage.task.referee)]
    return [reward.model for reward in _learned(rewards) if reward.model not in names]


def _learned(rewards: Sequence[Reward]) -> list[ModelReward]:
    """Also those that are cached."""
    return [reward for each in rewards if isinstance(reward := bare(each), ModelReward)]


def _listed(names: Sequence[str]) -> str:
    return f": {', '.join(names)}" if names else ""


def updates_per_draw(stage: Stage) -> int:
    """Optimiser updates made on one draw; with one, the policy that learns is the one that sampled."""
    return stage.minibatches * stage.epochs


def _complaints(stage: Stage) -> Iterator[str]:
    if stage.steps < 1 or stage.prompts_per_step < 1 or stage.minibatches < 1 or stage.epochs < 1:
        yield "steps, prompts_per_step, minibatches and epochs are all at least 1"
    if not 0 <= stage.most_unscored <= 1:
        yield f"most_unscored is {stage.most_unscored}; expected a share, 0 to 1"
    if stage.minibatches > stage.prompts_per_step:
        yield (
            f"{stage.minibatches} minibatches of {stage.prompts_per_step} prompts; a minibatch holds whole groups, so "
            "there can be at most as many as prompts_per_step"
        )
    if (
        stage.evaluate_every
        and len(stage.task.held_out)
        and not stage.task.is_judged
        and not stage.algorithm.trains_scorer
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
    yield from _kl_complaints(stage.algorithm)
    yield from _slot_complaints(stage.algorithm)
    if stage.algorithm.trains_scorer:
        yield from _scorer_complaints(stage.algorithm)


def _source_complaints(stage: Stage) -> Iterator[str]:
    algorithm, source = stage.algorithm, stage.algorithm.source
    if isinstance(source, OnPolicy):
        if algorithm.advantage.compares() and source.group_size < 2:
            yield (
                f"group_size is {source.group_size} with an advantage that compares a group's completions: every one "
                "would be 0; use group_size 2 or more"
            )
        if source.temperature <= 0:
            yield f"temperature is {source.temperature}; completions of a group must be able to differ"
        if not stage.task.rewards and needs_reward(algorithm):
            yield f"task {stage.task.name} has no reward, and sampled completions need one"
        if source.most_rounds < 1:
            yield f"most_rounds is {source.most_rounds}; a draw takes at least one round of sampling"
        if "greedy_rewards" in algorithm.needs() and not source.greedy_baseline:
            yield "the greedy baseline needs greedy completions: source.greedy_baseline True samples them"
    for reward in _learned(stage.task.rewards):
        if reward.kind == "process" and stage.task.steps is None:
            yield f"reward {reward.name} scores steps, and task {stage.task.name} does not say what one is: Task.steps"
    if isinstance(source, FrozenPolicy):
        yield from _frozen_complaints(stage, source)
    if isinstance(source, MonteCarloSteps) and not stage.task.rewards:
        yield f"task {stage.task.name} has no reward, and what becomes of a step is judged by one"
    if isinstance(source, Demonstrations) and (algorithm.advantage.compares() or algorithm.advantage.judges()):
        yield "demonstrations have no rewards and no group, so this advantage has nothing to compare"
    if isinstance(source, Pairs) and algorithm.advantage.judges():
        yield "preference pairs have no rewards; an objective on pairs takes the advantage Preference()"


def _scorer_complaints(algorithm: Algorithm) -> Iterator[str]:
    source, objective = algorithm.source, algorithm.objective
    if isinstance(source, OnPolicy):
        yield "OnPolicy samples from the policy that learns, and here a scorer does; FrozenPolicy samples for one"
    if isinstance(source, Demonstrations):
        yield "demonstrations have neither a better one nor a label, and a scorer learns from one of them"
    labelled = "step_rewards" in objective.needs()
    if labelled and isinstance(source, Pairs):
        yield "pairs have no labels, which this objective learns from; BradleyTerry learns from pairs"
    if labelled and isinstance(source, FrozenPolicy) and not isinstance(source.select, AllRollouts):
        yield "every sample has a label, so none needs to be chosen: select AllRollouts"
    if objective.joins_group() and isinstance(source, StepLabels | MonteCarloSteps):
        yield "labelled solutions stand alone and make no pair; StepCrossEntropy learns from their labels"
    if objective.joins_group() and not algorithm.advantage.compares():
        yield "this advantage makes no completion better than another; Preference, Ranking or GroupRelative do"
    if algorithm.kl.coefficient or algorithm.kl.target or algorithm.entropy.active or algorithm.critic.active:
        yield "a scorer has no policy, so there is no KL, no entropy bonus and no critic"
    if not isinstance(algorithm.correction, Uncorrected):
        yield "a correction between sampler and learner is of probabilities, and a scorer has none"


def _frozen_complaints(stage: Stage, source: FrozenPolicy) -> Iterator[str]:
    if not stage.task.rewards and needs_reward(stage.algorithm):
        yield f"task {stage.task.name} has no reward, and the samples of a frozen policy are chosen by one"
    if source.samples_per_prompt < 1 or source.sampling_temperature < 0:
        yield "samples_per_prompt is at least 1, and sampling_temperature at least 0"
    if source.demonstrations and stage.algorithm.objective.joins_group():
        yield "demonstrations are groups of one and cannot stand among pairs; leave source.demonstrations out"


def _kl_complaints(algorithm: Algorithm) -> Iterator[str]:
    kl = algorithm.kl
    if kl.in_objective and kl.estimator == "k1" and kl.weight != "live":
        yield "k1 as a loss has zero gradient in expectation; use k2 or k3, weight it live, or put it in the reward"
    if kl.in_reward and kl.estimator == "exact":
        yield "an exact KL stands in the objective; in the reward use k1, whose gradient there is that of the KL"
    if kl.in_reward and kl.weight != "none":
        yield f"kl.weight {kl.weight} can never apply: in the reward the KL is that of the policy that sampled"
    verdicts = kl.place == "reward" and algorithm.advantage.needs() == {"correct"}
    if kl.in_reward and (verdicts or not algorithm.advantage.judges()):
        yield "a KL in the reward has no effect on an advantage that does not read rewards"
    if kl.in_reward and isinstance(algorithm.advantage, ProcessRelative):
        yield "a KL in the reward is lost between steps: process supervision normalises step scores only"
    if kl.target and not kl.coefficient:
        yield f"kl.target {kl.target} has nothing to adapt: an adaptive coefficient of 0 stays 0"
    if algorithm.reference.refresh_every and not algorithm.needs_reference:
        yield "reference.refresh_every can never apply: nothing here asks the reference policy"
    if algorithm.reference.model and not algorithm.needs_reference:
        yield f"reference.model {algorithm.reference.model} is never asked: there is no KL and no other use of it"


def _slot_complaints(algorithm: Algorithm) -> Iterator[str]:
    if isinstance(algorithm.advantage, TeacherGap) and not algorithm.reference.model:
        yield "a teacher is missing: algorithm.reference.model is its directory (the policy can't teach itself)"
    if isinstance(algorithm.advantage, GAE) and not algorithm.critic.active:
        yield "GAE needs a critic: critic.network head or own"
    if algorithm.critic.active and not isinstance(algorithm.advantage, GAE):
        yield f"a critic ({algorithm.critic.network}) is trained and never asked: only GAE uses its values"
    objective = algorithm.objective
    if isinstance(objective, ClippedRatio) and 0 < objective.ceiling <= 1 + objective.high:
        yield f"ceiling {objective.ceiling} lies inside the clip, whose upper end is {1 + objective.high}"
    if isinstance(objective, ClippedRatio) and 0 < objective.dual <= 1:
        yield f"dual {objective.dual} would flip the gradient of ordinary tokens; dual clip's c is above 1, usually 3"


def _remarks(stage: Stage) -> Iterator[str]:
    yield from _kl_remarks(stage)
    yield from _update_remarks(stage)
    if len(stage.task.held_out) and stage.task.judge and not (stage.task.is_judged or stage.algorithm.trains_scorer):
        yield (
            f"its model is not evaluated: scores of reward {stage.task.judge.name} only compare answers, and none is "
            "right by them; --judge, or Task.referee, names who says it"
        )
    algorithm, source = stage.algorithm, stage.algorithm.source
    if isinstance(source, OnPolicy) and isinstance(algorithm.aggregation, ConstantLength):
        length, most = algorithm.aggregation.length, source.max_completion_tokens
        if length != most:
            yield f"aggregation.length {length:g} and source.max_completion_tokens {most} are meant to be equal"
    twice = isinstance(algorithm.advantage, GroupRelative) and algorithm.advantage.scale == "group"
    if twice and algorithm.whitening.unit != "none":
        yield "advantages are normalised twice, by the group's std and then over the draw"


def _kl_remarks(stage: Stage) -> Iterator[str]:
    kl, updates = stage.algorithm.kl, updates_per_draw(stage)
    if kl.in_objective and kl.estimator == "k3" and kl.weight == "none" and updates > 1:
        yield (
            f"{updates} updates a draw with an unweighted k3 penalty: off-policy its gradient is that of neither KL; "
            "kl.weight live is the unbiased form"
        )
    if kl.in_objective and (kl.estimator, kl.weight) in (("k2", "live"), ("k3", "stopped")):
        yield (
            f"{kl.estimator} with a {kl.weight} weight has another gradient than that of KL(π_θ‖π_ref); k3 live and "
            "k2 stopped have it"
        )
    if kl.in_reward and kl.estimator in ("k2", "k3"):
        yield f"{kl.estimator} in the reward has another gradient than that of KL(π_θ‖π_ref); k1 has it"


def _update_remarks(stage: Stage) -> Iterator[str]:
    algorithm, updates = stage.algorithm, updates_per_draw(stage)
    if not isinstance(algorithm.source, OnPolicy):
        return
    if updates == 1 and isinstance(algorithm.objective, ClippedRatio | ClippedSequenceRatio):
        yield "one update a draw, so the ratio is 1 and clip low and high never apply"
    if updates == 1 and not isinstance(algorithm.correction, Uncorrected):
        yield "one update a draw by an engine that agrees with the learner: the correction is 1 for every token"
    joined = algorithm.objective.joins_group()
    if updates > 1 and "old_logprobs" not in algorithm.objective.needs() and not joined:
        yield f"{updates} updates a draw without an importance ratio: from the second on the gradient is biased"
