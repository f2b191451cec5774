"""The mathematics of post-training on ``[B, T]`` floats. Imports torch and nothing else.

``B`` rows are completions, group after group; ``T`` is the longest. Position ``t`` is the t-th token after the prompt.
"""

from groupwise.algorithm.advantages import Advantage, Constant, GroupRelative
from groupwise.algorithm.aggregation import (
    Aggregation,
    ConstantLength,
    GroupTokenMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
)
from groupwise.algorithm.algorithm import Algorithm, Coefficients, Source, gradient_coefficient
from groupwise.algorithm.corrections import Correction, RejectMismatch, TruncateMismatch, Uncorrected
from groupwise.algorithm.kl import KL
from groupwise.algorithm.objectives import ClippedRatio, LogLikelihood, Objective, Surrogate
from groupwise.algorithm.signals import Outputs, Signals

__all__ = [
    "KL",
    "Advantage",
    "Aggregation",
    "Algorithm",
    "ClippedRatio",
    "Coefficients",
    "Constant",
    "ConstantLength",
    "Correction",
    "GroupRelative",
    "GroupTokenMean",
    "LogLikelihood",
    "Objective",
    "Outputs",
    "RejectMismatch",
    "SequenceMean",
    "SequenceSum",
    "Signals",
    "Source",
    "Surrogate",
    "TokenMean",
    "TruncateMismatch",
    "Uncorrected",
    "gradient_coefficient",
]
