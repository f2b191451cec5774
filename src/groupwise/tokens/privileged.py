"""A row as a teacher sees it: its prompt, with what the policy is not shown."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from string import Formatter
from typing import Any

from groupwise.errors import UserError
from groupwise.types import Example, Message, Prompt, Text


def longest(prompt: Prompt) -> int:
    """Returns how many tokens the policy reads of a prompt, or the reference where that is more."""
    return max(len(prompt.tokens), len(prompt.reference_tokens))


def names_in(words: str) -> list[str]:
    """Returns the names in braces of ``words``, in order. Raises UserError for braces that hold anything but a name."""
    try:
        pieces = list(Formatter().parse(words))
    except ValueError as error:
        raise UserError(f"reference.sees {words!r}: {error}; a brace itself is written twice") from None
    found = [name for _, name, *further in pieces if name is not None]
    plain = all(not format_spec and not conversion for _, _, format_spec, conversion in pieces)
    if not plain or not all(name.isidentifier() for name in found):
        raise UserError(
            f"reference.sees {words!r}: braces hold names, such as {{prompt}}, {{answer}} or that of a column; a brace "
            "itself is written twice"
        )
    if "prompt" not in found:
        raise UserError(f"reference.sees {words!r} has no {{prompt}}: the teacher would not know what was asked")
    return found


def privileged(example: Example, words: str) -> Example:
    """The row with ``words`` for its prompt, or for the last message of the user's where it is a conversation.

    {prompt} is what stood there, {answer} and {completion} the row's, any other name a column. Raises UserError for a
    name that the row has nothing for.
    """
    names = names_in(words)
    if isinstance(example.prompt, str):
        return replace(example, prompt=_filled(words, names, example, example.prompt))
    messages = list(example.prompt)
    place = max((at for at, message in enumerate(messages) if message["role"] == "user"), default=None)
    if place is None:
        raise UserError(f"{example.id}: reference.sees is put in the place of a user's message, and the row has none")
    said: Message = {**messages[place], "content": _filled(words, names, example, messages[place]["content"])}
    return replace(example, prompt=(*messages[:place], said, *messages[place + 1 :]))


def _filled(words: str, names: list[str], example: Example, prompt: str) -> str:
    known: dict[str, Any] = {**example.columns, "prompt": prompt}
    if example.answer is not None:
        known["answer"] = example.answer
    if example.completion is not None:
        known["completion"] = _shown(example.completion)
    missing = next((name for name in names if known.get(name) is None), None)
    if missing is not None:
        there = ", ".join(sorted(name for name, value in known.items() if value is not None))
        raise UserError(f"{example.id}: reference.sees names {{{missing}}}, and the row has none; it has {there}")
    return "".join(_parts(words, known))


def _parts(words: str, known: dict[str, Any]) -> Iterator[str]:
    for text, name, *_ in Formatter().parse(words):
        yield text
        if name is not None:
            yield str(known[name])


def _shown(completion: Text) -> str:
    """What the assistant says in it."""
    if isinstance(completion, str):
        return completion
    return "\n".join(message["content"] for message in completion if message["role"] == "assistant")
