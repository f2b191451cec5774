"""What a chat template is told, from the command line: ``--chat.enable_thinking false``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from groupwise.commands.flags import Flag, flags_of, is_option, refuse_twice
from groupwise.errors import UserError

CHAT = "chat."
OWN = ("conversation", "messages", "tools", "documents", "tokenize", "add_generation_prompt", "continue_final_message")
"""Arguments of the template that rendering sets itself, or that are no option."""


def template_value(text: str) -> Any:
    """JSON where the text is some: true, false, null, a number, "text", [..], {..}; else the text itself."""

    def refuse(_: str) -> Any:
        raise ValueError("no JSON")  # NaN and Infinity

    if text in ("True", "False"):
        return text == "True"
    try:
        return json.loads(text, parse_constant=refuse)
    except ValueError:
        return text


def template_arguments(flags: Sequence[Flag], taken: Sequence[str] = ()) -> tuple[dict[str, Any], list[Flag]]:
    """What ``--chat.NAME VALUE`` says, and the other flags; ``taken`` are names that are options of something else.

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
            raise UserError(f"{flag.spelling} has {len(flag.values)} values; expected one (JSON, or text)")
        said[name] = template_value(flag.values[0])
    return said, [flag for flag in flags if flag not in mine]


def apart(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
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
