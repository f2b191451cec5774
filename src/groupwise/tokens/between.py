"""This module knows what a chat template writes between two turns of the model's: the end of one, what others say, the
next header.

It is appended, and nothing that stands before is ever written again::

    sampled                  appended, mask 0                  sampled
    4 <|end|>                <|user|> why? <|assistant|>       two twos <|end|>

Where the template would write earlier turns otherwise now that others follow, that is found out here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.tokens.calls import call_id
from groupwise.tokens.chat_template import ARGUMENTS, TOOLS, ChatTemplate
from groupwise.tokens.encoding import GUARD, Encoder, same_beginning
from groupwise.tokens.shortening import shortened
from groupwise.types import Example, Message

ANSWER = "answer-4f1d"  # what nobody else says
MOST_KNOWN = 4096
_PROBE: tuple[Message, ...] = ({"role": "user", "content": "question"}, {"role": "assistant", "content": ANSWER})


class RewrittenError(UserError):
    """A chat template writes earlier turns otherwise now that others follow."""


class Between:
    """Writes what stands between turns, by one template; without one (``is_chat``), nothing but the words."""

    def __init__(
        self,
        template: ChatTemplate,
        encoder: Encoder,
        name: str,
        is_chat: bool,
        system: str | None,
        rewritten: Literal["", "refuse", "keep", "branch"],
        shown: Callable[[Message, Example], Message],
        stop_tokens: Sequence[int] = (),
    ) -> None:
        self._template, self._encoder, self._name = template, encoder, name
        self._is_chat, self._rewritten, self._shown = is_chat, rewritten, shown
        self._system = system
        self._special, self._stops = template.tokenizer.added_tokens_decoder, stop_tokens
        self._known: dict[Any, tuple[int, ...]] = {}
        """What was appended of late."""
        self._checked: set[Any] = set()
        self._rows: dict[int, tuple[Example, Any]] = {}

    def ids(self, example: Example, before: Sequence[Message], said: Sequence[Message], last: int) -> Sequence[int]:
        """What follows the model's turn, the last message of ``before``, whose last sampled token is ``last``, up to
        where its next one begins. Raises RewrittenError where the template rewrites what stands before and may not."""
        if not self._is_chat:
            return self._encoder.after("".join(self._shown(message, example)["content"] for message in said))
        thinks, calls = "</think>" in (before[-1]["content"] or ""), "tool_calls" in before[-1]
        shape = tuple(each["role"] for each in before), tuple(each["role"] for each in said), thinks, calls
        is_checked = self._rewritten == "keep" or shape in self._checked
        calling = _calling(before) if calls or (said and said[0]["role"] == "tool") else None
        begins = [each for each in before if each["role"] == "system"][:1]
        key = self._row_key(example), _key(begins), _key(calling), _key(said), last
        if is_checked and key in self._known:
            return self._known[key]
        now = [self._shown(message, example) for message in said]
        if not is_checked:
            shown = [self._shown(message, example) for message in before]
            self._refuse_rewritten(example, self._answerable([*shown, *now], example)[: len(before)], now)
            if self._rewritten != "branch":  # there each turn is looked at, so that no episode depends on another
                self._checked.add(shape)
        self._known[key] = self._appended([*begins, *_PROBE], calling, now, example, last)
        if len(self._known) > MOST_KNOWN:
            del self._known[next(iter(self._known))]
        return self._known[key]

    def _appended(
        self, probe: list[Message], calling: Message | None, now: Sequence[Message], example: Example, last: int
    ) -> tuple[int, ...]:
        """What the template writes for messages behind a probe's answer, or behind its call, without the token that
        ends it where that was sampled."""
        if calling is not None:
            probe[-1] = self._shown(calling, example)
        ids = self._encoder.after(self._template.fill([*probe, *now], example).rpartition(ANSWER)[2])
        if calling is not None:  # what the call ends with comes first
            ends = [place for place, token in enumerate(ids) if token in (last, *self._stops)][:1]
            return ids[ends[0] + (ids[ends[0]] == last) :] if ends else ids
        end = next((place for place, token in enumerate(ids) if token in self._special), None)
        return ids[end + 1 :] if end is not None and ids[end] == last else ids

    def _row_key(self, example: Example) -> Any:
        """What a template may write of a row; schemas of tools are long, and looked at once for all turns of a row."""
        found = self._rows.get(id(example))
        if found is None or found[0] is not example:
            if len(self._rows) >= MOST_KNOWN:
                self._rows.clear()
            key = _key(example.columns.get(TOOLS)), _key(example.columns.get(ARGUMENTS))
            found = self._rows[id(example)] = example, key
        return found[1]

    def anew(self, example: Example, messages: Sequence[Message]) -> tuple[int, ...]:
        """Returns the whole conversation as the template writes it now, up to where the model's next turn begins."""
        shown = self._answerable([self._shown(message, example) for message in messages], example)
        if self._system is not None and shown[0]["role"] != "system":
            shown.insert(0, {"role": "system", "content": self._system})
        return self._encoder.ids(self._template.fill(shown, example))

    def _answerable(self, messages: list[Message], example: Example) -> list[Message]:
        """The messages; where the template takes no result of a tool behind a turn that could not be read, with a call
        in place of each such turn."""
        unread = [
            place
            for place, (turn, after) in enumerate(pairwise(messages))
            if (turn["role"], after["role"]) == ("assistant", "tool") and not turn.get("tool_calls")
        ]
        if not unread:
            return messages
        try:
            self._template.fill(messages, example)
        except UserError:
            found = list(messages)
            for place in unread:
                found[place] = self._shown(_calling(messages[: place + 1], str(messages[place]["content"])), example)
            return found
        return messages

    def shortened(self, text: str, most: int) -> str:
        """Returns what is said, without its middle where it has more than so many tokens; 0: any number."""
        if not most:
            return text
        return shortened(text, most, lambda part: len(self._encoder.after(self._encoder.guarded(part))))

    def _refuse_rewritten(self, example: Example, before: Sequence[Message], said: Sequence[Message]) -> None:
        """Raises RewrittenError for the first message that the template writes otherwise once ``said`` follows: what
        stood before the last turn when that was sampled, and then that turn's own words."""
        fill = partial(self._template.fill, example=example, generate=False)
        asked = self._template.fill(before[:-1], example).replace(GUARD, "")
        now = self._template.fill([*before, *said], example).replace(GUARD, "")
        words = "".join(str(before[-1]["content"] or "").replace(GUARD, "").split())
        same = same_beginning(asked, now)
        if same == len(asked) and "".join(now[same:].split()).startswith(words):
            return
        changed = next(
            (place for place in range(len(before)) if len(fill(before[: place + 1])) > same), len(before) - 1
        )
        raise RewrittenError(
            f"{example.id}: the chat template of {self._name} writes message {changed + 1} ({before[changed]['role']}) "
            f"otherwise once {said[0]['role'] if said else 'the assistant'} follows, so that what was sampled is not "
            "what a later turn would be asked with; expected a template that only appends, or "
            'Turns(rewritten="keep"), which leaves turns as they were sampled, or Turns(rewritten="branch"), which '
            "asks with what it writes now"
        )


def _key(value: Any) -> Any:
    """Something that is equal where values of messages and schemas are, and can be looked up."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, dict | Mapping):  # a dict is found out at once
        return tuple([(name, each if isinstance(each, str) else _key(each)) for name, each in value.items()])
    if isinstance(value, list | tuple):
        return tuple([_key(each) for each in value])
    return type(value).__name__, repr(value)


def _calling(before: Sequence[Message], argument: str = ANSWER) -> Message:
    """A turn that calls the tools that the last message calls, or one, each with one argument. Its calls have the ids
    that they have in the whole conversation."""
    calls = before[-1].get("tool_calls") or ({"function": {"name": "tool"}},)
    first = sum(len(each.get("tool_calls") or ()) for each in before[:-1])
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {
                "type": "function",
                "function": {"name": call["function"]["name"], "arguments": {"probe": argument}},
                "id": call.get("id") or call_id(first + place),
            }
            for place, call in enumerate(calls)
        ],
    }
