"""This module says how a model is prompted, sampled and stopped: ``--chat.enable_thinking false``, ``--min_p 0.1``,
``--stop TEXT``."""

from __future__ import annotations

import json
import re
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from groupwise.commands.flags import Flag, flags_of, is_option, refuse_twice
from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.tasks.questions import Questions
    from groupwise.tasks.task import Task

Chat = Literal["auto", "always", "never"]

CHAT = "chat."
STOP_HELP = r"a completion also ends with this text, such as '</answer>' or '\n\n'; repeatable"
CHAT_HELP = "told to the chat template: --chat.enable_thinking false"
OWN = ("conversation", "messages", "tools", "documents", "tokenize", "add_generation_prompt", "continue_final_message")
"""Arguments of the template that rendering sets itself, or that are no option."""


def template_value(text: str) -> Any:
    """Reads JSON where the text is some: true, false, null, a number, "text", [..], {..}; else the text itself."""

    def refuse(_: str) -> Any:
        raise ValueError("no JSON")  # NaN and Infinity

    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text


def template_arguments(flags: Sequence[Flag], taken: Sequence[str] = ()) -> tuple[dict[str, Any], list[Flag]]:
    """Returns what ``--chat.NAME VALUE`` says, and the other flags; ``taken`` are names that are options of something
    else.

    Raises UserError for a name that no template can be given, and for one without its value.
    """
    mine = [flag for flag in flags if flag.name.startswith(CHAT) and flag.name not in taken]
    refuse_twice([flag for flag in mine if not flag.place])
    said = {}
    for flag in mine:
        name = flag.name.removeprefix(CHAT)
        if not name.isidentifier() or name in OWN:
            raise UserError(
                f"{flag.spelling}: no argument of a chat template that an option can set; expected such as "
                "--chat.enable_thinking false"
            )
        if len(flag.values) != 1:
            raise UserError(f"{flag.spelling} has {counted(len(flag.values), 'value')}; expected one (JSON, or text)")
        said[name] = template_value(flag.values[0])
    return said, [flag for flag in flags if flag not in mine]


def split_arguments(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The template's arguments among the words of a command, and the other words."""
    mine: list[str] = []
    rest: list[str] = []
    wants_value = False
    for word in words:
        if is_option(word):
            is_mine = word.startswith(f"--{CHAT}")
            wants_value = is_mine and "=" not in word
        else:
            is_mine, wants_value = wants_value, False
        (mine if is_mine else rest).append(word)
    return template_arguments(flags_of(mine)[1])[0], rest


def stop_strings(given: Sequence[str] | None) -> tuple[str, ...]:
    """Returns what ends a completion. Raises UserError for an empty text."""
    found = tuple(map(unescaped, given or ()))
    if not all(found):
        raise UserError("--stop is an empty text; expected what ends a completion, such as '</answer>'")
    return found


def trained_options(source: str, system: str | None, stops: Sequence[str] | None, chat: Chat = "auto") -> Questions:
    """Says how the model is asked: as the run that left it asked it, but for what the caller says. ``--system ""`` and
    ``--stop ""``: none. What is recalled is told in one line on standard error."""
    from groupwise.tasks.questions import read_questions
    from groupwise.tasks.task_renderer import read_template_record

    known, (arguments, today) = read_questions(source), read_template_record(source)
    if system is not None:
        known = replace(known, system="")
    if stops is not None:
        known = replace(known, stop_strings=())
    if chat != "auto":
        known = replace(known, chat="auto")
    told = [known.in_words(), *(f"{name} {value}" for name, value in arguments.items())]
    told += [f"the date {today.isoformat()}"] if today else []
    if said := ", ".join(filter(None, told)):
        line = f"{source}: asked as in training: {said} (--system, --stop and --chat.NAME say otherwise)"
        print(visible(line), file=sys.stderr)
    given = () if list(stops or ()) == [""] else stop_strings(stops)
    return replace(
        known,
        system=known.system if system is None else system,
        stop_strings=known.stop_strings if stops is None else given,
        chat=known.chat if chat == "auto" else chat,
    )


def unescaped(text: str) -> str:
    r"""A stop string as it is meant: ``\n``, ``\t``, ``\r``, ``\\`` and ``\uXXXX`` stand for what they do in Python."""
    names = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\"}

    def character(match: re.Match[str]) -> str:
        return names.get(match[1]) or chr(int(match[1][1:], 16))

    return re.sub(r"\\([ntr\\]|u[0-9a-fA-F]{4})", character, text)


def task_with(task: Task, said: dict[str, Any], stops: tuple[str, ...]) -> Task:
    """The same with what templates are given, and with these stop strings where there are any."""
    arguments = {**task.template_arguments, **said}
    return replace(task, template_arguments=arguments, stop_strings=stops or task.stop_strings)


def add_sampling(known: ArgumentParser) -> None:
    """The options by which chat and evaluate narrow and end what is drawn."""
    known.add_argument("--top_k", type=int, metavar="N", default=0, help="sample among the N likeliest; 0: all (0)")
    known.add_argument(
        "--top_p", type=float, metavar="X", default=1.0, help="sample among the likeliest of probability X (1.0)"
    )
    known.add_argument(
        "--min_p", type=float, metavar="X", default=0.0, help="sample among those X times as likely as the best (0.0)"
    )
    known.add_argument("--stop", metavar="TEXT", action="append", help=STOP_HELP)
    known.add_argument("--chat.NAME", dest="ignored", metavar="VALUE", help=CHAT_HELP)


def refuse_narrowed(chosen: Namespace) -> None:
    """Raises UserError for a top-k, top-p or min-p from which nothing could be drawn."""
    if chosen.top_k < 0:
        raise UserError(f"--top_k is {chosen.top_k}; expected 0 (all) or more")
    if not 0 < chosen.top_p <= 1:
        raise UserError(f"--top_p is {chosen.top_p:g}; expected more than 0, at most 1")
    if not 0 <= chosen.min_p <= 1:
        raise UserError(f"--min_p is {chosen.min_p:g}; expected 0 to 1")
