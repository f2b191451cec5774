"""This module says what the slots of an algorithm mean together: what is refused whatever the task, and what may not be
meant."""

from __future__ import annotations

from collections.abc import Iterator

from groupwise.algorithm import GAE, Algorithm, ClippedRatio, GroupRelative, Uncorrected


def complaints(algorithm: Algorithm) -> Iterator[str]:
    """Yields a sentence for each thing that cannot mean what it says."""
    yield from algorithm.source.complaints(algorithm)
    yield from _kl_complaints(algorithm)
    yield from _slot_complaints(algorithm)
    if algorithm.trains_scorer:
        yield from _scorer_complaints(algorithm)


def remarks(algorithm: Algorithm) -> Iterator[str]:
    """Yields a sentence for each thing that works but may not be meant."""
    kl = algorithm.kl
    if kl.in_objective and (kl.estimator, kl.weight) in (("k2", "live"), ("k3", "stopped")):
        yield (
            f"{kl.estimator} with a {kl.weight} weight has another gradient than that of KL(π_θ‖π_ref); k3 live and "
            "k2 stopped have it"
        )
    if kl.in_reward and kl.estimator in ("k2", "k3"):
        yield f"{kl.estimator} in the reward has another gradient than that of KL(π_θ‖π_ref); k1 has it"

    yield from algorithm.source.remarks(algorithm)
    twice = isinstance(algorithm.advantage, GroupRelative) and algorithm.advantage.scale == "group"
    if twice and algorithm.whitening.unit != "none":
        yield "advantages are normalised twice, by the group's std and then over the draw"


def _scorer_complaints(algorithm: Algorithm) -> Iterator[str]:
    if algorithm.objective.joins_group() and not algorithm.advantage.compares():
        yield "this advantage makes no completion better than another; Preference, Ranking or GroupRelative do"
    if algorithm.kl.coefficient or algorithm.kl.target or algorithm.entropy.active or algorithm.critic.active:
        yield "a scorer has no policy, so there is no KL, no entropy bonus and no critic"
    if not isinstance(algorithm.correction, Uncorrected):
        yield "a correction between sampler and learner is of probabilities, and a scorer has none"


def _kl_complaints(algorithm: Algorithm) -> Iterator[str]:
    kl = algorithm.kl
    if kl.in_objective and kl.estimator == "k1" and kl.weight != "live":
        yield "k1 as a loss has zero gradient in expectation; use k2 or k3, weight it live, or put it in the reward"
    if kl.in_reward and kl.estimator == "exact":
        yield "an exact KL stands in the objective; in the reward use k1, whose gradient there is that of the KL"
    if kl.in_reward and kl.weight != "none":
        yield f"kl.weight {kl.weight} can never apply: in the reward the KL is that of the policy that sampled"
    if kl.in_reward and not algorithm.advantage.judges():
        yield "a KL in the reward has no effect on an advantage that does not read rewards"
    lost = algorithm.advantage.loses_penalty()
    if kl.in_reward and kl.place == "reward" and lost:
        yield f"kl.place reward: {lost}; kl.place objective or advantage has it"
    if kl.target and not kl.coefficient:
        yield f"kl.target {kl.target} has nothing to adapt: an adaptive coefficient of 0 stays 0"
    if algorithm.reference.refresh_every and not algorithm.needs_reference:
        yield "reference.refresh_every can never apply: nothing here asks the reference policy"
    if algorithm.reference.sees and not algorithm.needs_reference:
        yield "reference.sees is never read: there is no KL and no other use of the reference policy"
    if algorithm.reference.model and not algorithm.needs_reference:
        yield f"reference.model {algorithm.reference.model} is never asked: there is no KL and no other use of it"


def _slot_complaints(algorithm: Algorithm) -> Iterator[str]:
    if isinstance(algorithm.advantage, GAE) and not algorithm.critic.active:
        yield "GAE needs a critic: critic.network head or own"
    if algorithm.critic.active and not isinstance(algorithm.advantage, GAE):
        yield f"a critic ({algorithm.critic.network}) is trained and never asked: only GAE uses its values"
    objective = algorithm.objective
    if isinstance(objective, ClippedRatio) and 0 < objective.ceiling <= 1 + objective.high:
        yield f"ceiling {objective.ceiling} lies inside the clip, whose upper end is {1 + objective.high}"
    if isinstance(objective, ClippedRatio) and 0 < objective.dual <= 1:
        yield f"dual {objective.dual} would flip the gradient of ordinary tokens; dual clip's c is above 1, usually 3"
