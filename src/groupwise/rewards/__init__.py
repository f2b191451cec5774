"""Rewards say what a completion is worth: plain functions, rules, mathematical equality, verifiers, and their sum."""

from __future__ import annotations

from groupwise.isolation.pool import Outcome, WorkerPool
from groupwise.rewards.answers import FinalAnswer, final_answer, numbers_equal, parse_number
from groupwise.rewards.cache import Cached
from groupwise.rewards.format import Format, LengthPenalty
from groupwise.rewards.judge import Judge
from groupwise.rewards.math import Math
from groupwise.rewards.model import ModelReward, solution_score, with_scales, with_scorers
from groupwise.rewards.named import by_name
from groupwise.rewards.program_answers import ProgramAnswer
from groupwise.rewards.programs import Code
from groupwise.rewards.published import MathVerify
from groupwise.rewards.reasoning_gym import ReasoningGym
from groupwise.rewards.scale import Clipped, Sigmoid, Standardised, Unscaled
from groupwise.rewards.scoring import score_rollouts
from groupwise.rewards.signatures import FunctionReward, as_reward

__all__ = [
    "Cached",
    "Clipped",
    "Code",
    "FinalAnswer",
    "Format",
    "FunctionReward",
    "Judge",
    "LengthPenalty",
    "Math",
    "MathVerify",
    "ModelReward",
    "Outcome",
    "ProgramAnswer",
    "ReasoningGym",
    "Sigmoid",
    "Standardised",
    "Unscaled",
    "WorkerPool",
    "as_reward",
    "by_name",
    "final_answer",
    "numbers_equal",
    "parse_number",
    "score_rollouts",
    "solution_score",
    "with_scales",
    "with_scorers",
]
