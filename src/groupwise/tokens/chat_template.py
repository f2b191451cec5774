"""This module fills in a chat template: its arguments, the date it may ask for, and one line for whatever goes wrong in
it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from difflib import get_close_matches
from functools import cached_property
from typing import TYPE_CHECKING, Any

from groupwise.errors import UserError
from groupwise.tokens.calls import TOOLS, with_ids
from groupwise.tokens.template_limits import limited, refuse_long
from groupwise.types import Example, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ARGUMENTS = "chat_template_kwargs"
"""The column of a row's own arguments."""
CLOCK = "strftime_now"
"""What templates call to learn the date."""
OURS = ("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "messages", "tokenize")
"""Arguments that are set here."""

KEPT_TEXTS, KEPT_LENGTH = 4096, 8192
"""How many texts of a template are kept, and how long a conversation with its text may be: 32 MB at most."""
_SAYS_ENOUGH = ("TemplateError", "UndefinedError", "TemplateTooLong")


@dataclass(frozen=True)
class ChatTemplate:
    """The template of one tokenizer with the arguments of one task."""

    tokenizer: PreTrainedTokenizerBase
    name: str
    """Of the model, as error messages say it."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """For every conversation; a row's own go before them."""
    today: date | None = None
    """The date that the template is told; None: the clock's."""

    def fill(self, messages: Sequence[Message], example: Example, generate: bool = True, goes_on: bool = False) -> str:
        """The conversation as text: up to where the assistant answers (``generate``), up to the end of the last
        message, which ``goes_on``, or whole.

        Raises UserError, in one line, for whatever the template raises (beyond ``template_limits``, too), and for an
        argument that it does not read.
        """
        arguments = self.arguments_of(example)
        if self.today is not None and self.tells_date:
            arguments["chat_template"] = _on(self.today, self.tokenizer.get_chat_template(None, arguments.get(TOOLS)))
        conversation = with_ids(messages)
        key = repr((conversation, arguments, generate, goes_on))
        if key in self._filled:
            return self._filled[key]
        try:
            with limited():
                text = self.tokenizer.apply_chat_template(
                    conversation,
                    tokenize=False,
                    add_generation_prompt=generate and not goes_on,
                    continue_final_message=goes_on,
                    **arguments,
                )
            refuse_long(str(text), len(str(conversation)) + len(str(arguments)))
        except Exception as error:  # a template is a program: it may raise anything
            reason = " ".join(str(error).split())[:300] or type(error).__name__
            kind = "" if type(error).__name__ in _SAYS_ENOUGH else f"{type(error).__name__}: "
            raise UserError(
                f"{example.id}: the chat template of {self.name} refuses the conversation ({kind}{reason}); "
                "change the conversation or the template"
            ) from error
        if len(key) + len(text) <= KEPT_LENGTH and (self.today is not None or not self.tells_date):
            if len(self._filled) >= KEPT_TEXTS:
                self._filled.clear()
            self._filled[key] = str(text)
        return str(text)

    @cached_property
    def _filled(self) -> dict[str, str]:
        """What short conversations look like: a row is asked for several times, and again in every epoch."""
        return {}

    def arguments_of(self, example: Example) -> dict[str, Any]:
        """The task's arguments and the row's own. Raises UserError for one of the task's, and for tools, that the
        template does not read, and for a column that holds no arguments."""
        own = example.columns.get(ARGUMENTS) or {}
        if not isinstance(own, Mapping):
            raise UserError(f"{example.id}: {ARGUMENTS} is {type(own).__name__}; expected an object of arguments")
        self.refuse_unread()
        taken = next((name for name in own if name in OURS), None)
        if taken:
            raise UserError(f"{example.id}: {ARGUMENTS} sets {taken}, which is set here; leave it out")
        found = {**self.arguments, **{name: value for name, value in own.items() if self._reads(name)}}
        if tools := example.columns.get(TOOLS):
            found[TOOLS] = tools
            self._refuse_unread({TOOLS: tools}, f"{example.id}: ")
        return found

    def refuse_unread(self) -> None:
        """Raises UserError for one of the task's arguments that the template does not read."""
        self._refuse_unread(self.arguments, "")

    def unread(self, example: Example) -> list[str]:
        """Returns the names of the row's own arguments that the template does not read."""
        return [name for name in example.columns.get(ARGUMENTS) or {} if not self._reads(name)]

    @property
    def tells_date(self) -> bool:
        """Says whether the template asks for the date."""
        return CLOCK in self._words

    def _refuse_unread(self, arguments: Mapping[str, Any], where: str) -> None:
        for name in arguments:
            if name in OURS:
                raise UserError(f"template_arguments: {name} is set here; leave it out")
            if not self._reads(name):
                near = [] if name == TOOLS else get_close_matches(name, self._words, n=1, cutoff=0.75)
                hint = f", perhaps you meant {near[0]}" if near else ""
                out = "leave it out (ignore_columns, where it is a column)" if name == TOOLS else "leave it out"
                said = f"{where}the chat template of {self.name} does not read {name}{hint}"
                raise UserError(f"{said}; {out} or take another template")

    @property
    def knows_tools(self) -> bool:
        """Says whether the template shows the functions that a model may call."""
        return self._reads(TOOLS)

    def _reads(self, name: str) -> bool:
        return name in self._words

    @cached_property
    def _words(self) -> frozenset[str]:
        """Every name that occurs in the template, or in any of several."""
        template: Any = self.tokenizer.chat_template
        texts = template.values() if isinstance(template, Mapping) else [template or ""]
        return frozenset(word for text in texts for word in re.findall(r"[A-Za-z_]\w*", text))


def _on(today: date, template: str) -> str:
    """The template with a clock that stands still: transformers passes no functions on to a template, so it is a macro
    that writes what each ``%d`` or ``%B`` of the template is on that day."""
    parts = sorted(set(re.findall(r"%[-#]?[A-Za-z]", template)), key=len, reverse=True)
    said = "".join(
        f"|replace({json.dumps(part)}, {json.dumps(today.strftime(part), ensure_ascii=False)})" for part in parts
    )
    return "{% macro " + CLOCK + "(format) %}{{ format" + said + ' }}{% endmacro %}{{ "" }}' + template
