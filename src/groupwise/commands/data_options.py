"""The command line's options on how data is read: what train, check and evaluate share."""

from __future__ import annotations

from argparse import Namespace, _ActionsContainer
from typing import Any


def add_data_options(known: _ActionsContainer) -> None:
    """Adds an option for each way of reading a file that its columns do not say themselves."""
    known.add_argument("--prompt_column", metavar="NAME", help="for data: the column that holds the prompt")
    known.add_argument(
        "--answer_column", metavar="NAME", help="for data: the column, or COLUMN.FIELD, that holds the reference answer"
    )
    known.add_argument(
        "--ignore_column",
        metavar="NAME",
        action="append",
        help="for data: a column that means something and is not to be used; repeatable",
    )
    known.add_argument(
        "--structured_answers",
        choices=("error", "any", "all", "json"),
        default="error",
        help="what a list of several reference answers means: any of them, all of them, its JSON text (error)",
    )


def add_answer_options(known: _ActionsContainer) -> None:
    """Adds the options on answers that are learned."""
    known.add_argument(
        "--turns",
        choices=("last", "all"),
        default=None,
        help="learned of a conversation: the last answer (default), or all (default where tools are called)",
    )
    known.add_argument(
        "--demonstrations",
        choices=("template", "appended"),
        default="template",
        help="answers as the chat template writes them, or appended to the prompt as it is asked (template)",
    )


def reading_of(chosen: Namespace) -> dict[str, Any]:
    """The arguments of ``tasks.from_file`` that ``add_data_options`` asked for."""
    return {
        "prompt_column": chosen.prompt_column,
        "answer_column": chosen.answer_column,
        "ignore_columns": tuple(chosen.ignore_column or ()),
        "structured_answers": chosen.structured_answers,
    }
