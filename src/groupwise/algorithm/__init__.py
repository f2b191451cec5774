"""The mathematics of post-training on ``[B, T]`` floats. Imports torch and nothing else.

``B`` rows are completions, group after group; ``T`` is the longest. Position ``t`` is the t-th token after the prompt.
"""

from groupwise.algorithm.advantages import (
    Accepted,
    Advantage,
    Constant,
    GroupRelative,
    NormalisedRewards,
    PassRateRelative,
    Preference,
    Ranking,
)
from groupwise.algorithm.aggregation import (
    Aggregation,
    ConstantLength,
    GroupTokenMean,
    SequenceMean,
    SequenceSum,
    TokenMean,
)
from groupwise.algorithm.algorithm import Algorithm, Coefficients, gradient_coefficient
from groupwise.algorithm.corrections import (
    Correction,
    GeometricReject,
    OffPolicySequenceMask,
    RejectMismatch,
    TruncateMismatch,
    Uncorrected,
)
from groupwise.algorithm.divergence import DivergenceMask
from groupwise.algorithm.extras import Critic, Entropy, Reference
from groupwise.algorithm.kl import KL
from groupwise.algorithm.objectives import (
    ClippedRatio,
    ClippedWeight,
    LogLikelihood,
    Objective,
    SoftGate,
    Surrogate,
)
from groupwise.algorithm.preferences import BradleyTerry, StepCrossEntropy
from groupwise.algorithm.process import ProcessRelative
from groupwise.algorithm.regularised import RegularisedRatio
from groupwise.algorithm.returns import GAE, RewardToGo, TeacherGap
from groupwise.algorithm.sequences import (
    ClippedGeometricMean,
    ClippedSequenceRatio,
    GammaWeight,
    PreferenceMargin,
)
from groupwise.algorithm.signals import Outputs, Signals
from groupwise.algorithm.source import Source
from groupwise.algorithm.turns import AnchorStates, TurnToGo
from groupwise.algorithm.whitening import Whitening

__all__ = [
    "GAE",
    "KL",
    "Accepted",
    "Advantage",
    "Aggregation",
    "Algorithm",
    "AnchorStates",
    "BradleyTerry",
    "ClippedGeometricMean",
    "ClippedRatio",
    "ClippedSequenceRatio",
    "ClippedWeight",
    "Coefficients",
    "Constant",
    "ConstantLength",
    "Correction",
    "Critic",
    "DivergenceMask",
    "Entropy",
    "GammaWeight",
    "GeometricReject",
    "GroupRelative",
    "GroupTokenMean",
    "LogLikelihood",
    "NormalisedRewards",
    "Objective",
    "OffPolicySequenceMask",
    "Outputs",
    "PassRateRelative",
    "Preference",
    "PreferenceMargin",
    "ProcessRelative",
    "Ranking",
    "Reference",
    "RegularisedRatio",
    "RejectMismatch",
    "RewardToGo",
    "SequenceMean",
    "SequenceSum",
    "Signals",
    "SoftGate",
    "Source",
    "StepCrossEntropy",
    "Surrogate",
    "TeacherGap",
    "TokenMean",
    "TruncateMismatch",
    "TurnToGo",
    "Uncorrected",
    "Whitening",
    "gradient_coefficient",
]
