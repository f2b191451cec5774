"""Sources say where the data comes from: the first part of the unified table (DeepSeekMath 5.1.1). A source is its
options."""

from groupwise.sources.agents import AgentPrograms
from groupwise.sources.ahead import Ahead
from groupwise.sources.demonstrations import Demonstrations
from groupwise.sources.documents import Documents
from groupwise.sources.draw import DrawContext, OfflineGroups, PendingDraw, Position, RolloutBatch
from groupwise.sources.frozen import FrozenPolicy
from groupwise.sources.monte_carlo import MonteCarloSteps
from groupwise.sources.on_policy import OnPolicy
from groupwise.sources.pairs import Pairs
from groupwise.sources.pending import restore_pending, write_pending
from groupwise.sources.reward_metrics import informative, mixed, reward_metrics
from groupwise.sources.rollouts import as_rollout, with_steps
from groupwise.sources.rows import prompt_stream, refuse_if_asked, row_order
from groupwise.sources.selection import AllRollouts, BestAndWorst, DistinctPaths, Selection, SelectionResult
from groupwise.sources.step_labels import StepLabels
from groupwise.sources.stream import Stream

__all__ = [
    "AgentPrograms",
    "Ahead",
    "AllRollouts",
    "BestAndWorst",
    "Demonstrations",
    "DistinctPaths",
    "Documents",
    "DrawContext",
    "FrozenPolicy",
    "MonteCarloSteps",
    "OfflineGroups",
    "OnPolicy",
    "Pairs",
    "PendingDraw",
    "Position",
    "RolloutBatch",
    "Selection",
    "SelectionResult",
    "StepLabels",
    "Stream",
    "as_rollout",
    "informative",
    "mixed",
    "prompt_stream",
    "refuse_if_asked",
    "restore_pending",
    "reward_metrics",
    "row_order",
    "with_steps",
    "write_pending",
]
