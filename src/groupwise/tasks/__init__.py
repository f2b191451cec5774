"""A task is what is to be learned: what is to be learned, from whatever file and column convention it comes."""

from groupwise.tasks.context_columns import Convention
from groupwise.tasks.conventions import Reading, duplicates, examples, recognise
from groupwise.tasks.files import read_rows
from groupwise.tasks.from_file import from_file, split
from groupwise.tasks.gsm8k import gsm8k
from groupwise.tasks.held_out import held_out_sets
from groupwise.tasks.named import by_name, is_generated
from groupwise.tasks.reasoning_gym import reasoning_gym
from groupwise.tasks.step_labels import LabelledStep, labelled_steps
from groupwise.tasks.stepwise import Difficulty, StepRule, StepwiseArithmetic, check_lines, check_steps, stepwise
from groupwise.tasks.task import Task

__all__ = [
    "Convention",
    "Difficulty",
    "LabelledStep",
    "Reading",
    "StepRule",
    "StepwiseArithmetic",
    "Task",
    "by_name",
    "check_lines",
    "check_steps",
    "duplicates",
    "examples",
    "from_file",
    "gsm8k",
    "held_out_sets",
    "is_generated",
    "labelled_steps",
    "read_rows",
    "reasoning_gym",
    "recognise",
    "split",
    "stepwise",
]
