"""This module knows what ends a turn of the assistant's in a chat template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from groupwise.errors import UserError
from groupwise.tokens.chat_template import ChatTemplate
from groupwise.tokens.encoding import Encoder
from groupwise.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class TurnEnd:
    """A turn's end is learned from what the template writes behind an answer."""

    tokenizer: PreTrainedTokenizerBase
    template: ChatTemplate
    encoder: Encoder

    @cached_property
    def tail(self) -> str:
        """The text that the template writes after an assistant's message."""
        answer = "ANSWER"
        probe = Example("the chat template's probe", "question")
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
        return self.template.fill(turns, probe, generate=False).rpartition(answer)[2]

    @cached_property
    def ids(self) -> tuple[int, ...]:
        """The ids that end an assistant's turn in the template, up to its first special token; empty: it has none."""
        if self.tokenizer.chat_template is None:
            return ()
        tail = self.encoder.after(self.tail)
        special = self.tokenizer.added_tokens_decoder
        end = next((index for index, token in enumerate(tail) if token in special), None)
        return () if end is None else tail[: end + 1]

    def texts(self, stop_tokens: Sequence[int]) -> tuple[str, ...]:
        """Returns the special tokens that end a turn of the assistant's, as text: that of the last turn, then the
        others."""
        added = self.tokenizer.added_tokens_decoder
        last = [added[self.ids[-1]].content] if self.ids else []
        others = [added[token].content for token in stop_tokens if token in added] if last else []
        return tuple(dict.fromkeys([*last, *others]))

    @cached_property
    def headers(self) -> set[int]:
        """Where no token ends a turn but the next header does: what a user's header, or a tool's, begins with."""
        if self.ids or self.tokenizer.chat_template is None:
            return set()
        found = (self._header(role) for role in ("user", "tool"))
        return {token for token in found if token is not None}

    def _header(self, role: str) -> int | None:
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "ANSWER"}]
        turns.append({"role": role, "content": "more"})
        try:
            text = self.template.fill(turns, Example("the chat template's probe", "question"))
        except UserError:  # it knows no such role
            return None
        ids = self.encoder.after(text.rpartition("ANSWER")[2])
        return next((token for token in ids if token in self.tokenizer.added_tokens_decoder), None)
