"""This module says where training stands, as rewards are told."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrainerState:
    """This says where training stood when a completion was drawn, under TRL's names. A step is a draw."""

    global_step: int = 1
    """Steps done."""
    max_steps: int = 1
    """Of the stage."""
    epoch: float = 1.0
    """Passes over the task's rows so far, a fraction included."""
    num_train_epochs: int = 1
    """Passes in all, rounded up."""
    is_world_process_zero: bool = True
    is_local_process_zero: bool = True


OVER = TrainerState()  # training is over
