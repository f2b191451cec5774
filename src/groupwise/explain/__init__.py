"""This package says what a method does to each token, in numbers, formulas and words: on given numbers, on a small
example, and on the rollouts of a run."""

from groupwise.explain.case import Case, Response
from groupwise.explain.coincidence import Coincidence, coincidences, itself
from groupwise.explain.differences import Contrast, contrast
from groupwise.explain.formula import definitions, objective, table_row
from groupwise.explain.numbers import Numbers, Tokens, compute
from groupwise.explain.reading import case_from, read_case
from groupwise.explain.reward_scale import scale_effect
from groupwise.explain.rollouts import StepBatch, reward_scales, select, step_rows
from groupwise.explain.totals import Totals, totals
from groupwise.explain.words import effects, premises
from groupwise.explain.worked import worked_case

__all__ = [
    "Case",
    "Coincidence",
    "Contrast",
    "Numbers",
    "Response",
    "StepBatch",
    "Tokens",
    "Totals",
    "case_from",
    "coincidences",
    "compute",
    "contrast",
    "definitions",
    "effects",
    "itself",
    "objective",
    "premises",
    "read_case",
    "reward_scales",
    "scale_effect",
    "select",
    "step_rows",
    "table_row",
    "totals",
    "worked_case",
]
