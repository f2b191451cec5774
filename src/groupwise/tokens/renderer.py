"""The renderer turns messages into token ids and the mask, and back.

A prompt and its demonstration through a template that writes ``<|user|>2+2=<|end|><|assistant|>4<|end|>``::

    Prompt.tokens     <|user|>  2  +  2  =  <|end|>  <|assistant|>
    Rollout.tokens                                                  4   <|end|>
    Rollout.mask                                                    1   1

The prompt's ids are the same ids whether the model samples or is shown what follows. Prompt and answer together are the
ids of the text that the template writes; only where a token of that text would go across the end of the prompt is the
answer encoded by itself. What a template writes after the token that ends a turn is left out: no model ever samples it.

An answer of several turns is one rollout; what others say in it has mask 0::

    Rollout.tokens    4   <|end|>   <|user|>  why?  <|end|>  <|assistant|>   two  twos  <|end|>
    Rollout.mask      1   1         0         0     0        0               1    1     1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal

from groupwise.environments.protocol import Reply
from groupwise.errors import UserError
from groupwise.tokens.between import Between
from groupwise.tokens.calls import TOOLS, CallReader, guarded_message
from groupwise.tokens.chat_template import ChatTemplate
from groupwise.tokens.decoding import Decoder
from groupwise.tokens.encoding import GUARD, Encoder
from groupwise.tokens.privileged import privileged
from groupwise.tokens.transcript import Transcript, Writer, joined
from groupwise.tokens.turn_end import TurnEnd
from groupwise.types import DEMONSTRATED, Example, Message, Prompt, Rollout, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


@dataclass(frozen=True)
class Renderer:
    """A renderer turns examples into tokens and tokens into text, for one tokenizer and one way of prompting.

    Text of a conversation that spells a special token (``<|end|>`` in a user's message) stays text: it is encoded in
    two pieces that no special token matches. The same holds for plain prompts, but for ``chat="never"``: there the text
    is the whole prompt as its author renders it, special tokens included.
    """

    tokenizer: PreTrainedTokenizerBase
    system: str | None = None
    """Put before every conversation that does not bring its own system message."""
    chat: Literal["auto", "always", "never"] = "auto"
    """See ``Task.chat``."""
    name: str = "the model"
    """Whose tokenizer this is, as error messages say it."""
    eos_tokens: tuple[int, ...] = ()
    """Further ids that end a completion: ``eos_token_id`` of ``generation_config.json``."""
    stop_strings: tuple[str, ...] = ()
    """See ``Task.stop_strings``."""
    template_arguments: Mapping[str, Any] = field(default_factory=dict)
    """See ``Task.template_arguments``."""
    demonstrations: Literal["template", "appended"] = "template"
    """See ``Task.demonstrations``."""
    today: date | None = None
    """The date that a chat template is told where it asks; None: the clock's."""
    reference_sees: str = ""
    """See ``Reference.sees``."""
    converses: Literal["", "refuse", "keep", "branch"] = ""
    """Whether an environment talks with the model, and what then becomes of a template that rewrites turns."""

    def prompt(self, example: Example) -> Prompt:
        """The example's prompt as tokens, up to where the model's answer begins.

        A conversation that ends with the assistant is continued: the model goes on with that message. Raises UserError
        for a conversation without a chat template, one that ends with a system message, one that the template refuses,
        a prompt that has no tokens, and a row that lacks what the reference sees of it.
        """
        tokens, opens_thinking = self._prompted(example)
        if not self.reference_sees:
            return Prompt(example, tokens, opens_thinking)
        more, _ = self._prompted(privileged(example, self.reference_sees))
        return Prompt(example, tokens, opens_thinking, reference_tokens=more)

    def _prompted(self, example: Example) -> tuple[tuple[int, ...], bool]:
        """Ids, and whether they end inside a thinking block."""
        chat = self._is_chat(example)
        text = self._writer(example).prompt(self._messages(example)) if chat else self._plain(example)
        tokens = (() if chat else self._encoder.opening) + self._encoder.ids(text)
        if not tokens:
            raise UserError(f"{example.id}: the prompt is empty; expected at least one token")
        return tokens, chat and text.rstrip().endswith("<think>")

    @cached_property
    def between(self) -> Between:
        """Writes what stands between the model's turns."""
        how = self.name, self.is_chat, self.system, self.converses
        return Between(self._template, self._encoder, *how, self._shown, self.stop_tokens)

    @property
    def is_chat(self) -> bool:
        """Says whether plain text is shown as a user's message."""
        return self.tokenizer.chat_template is not None and self.chat != "never"

    def demonstration(self, example: Example) -> Rollout:
        """The example's completion as a rollout: every token of the assistant's turns is trained on, the one that ends
        a turn included; what others say between them is not.

        Raises UserError where the example has no completion, where the template rewrites the prompt once an answer
        follows it or drops a part of the answer, and for what ``prompt`` raises.
        """
        if example.completion is None:
            raise UserError(f"{example.id}: no completion to demonstrate; expected text or messages")
        prompt = self.prompt(example)
        shown = self.transcript(example)
        _, *parts = self._encoder.parts(shown.text, list(chain.from_iterable(shown.answers))[:-1])
        if not shown.ended and parts[-1][-1:] != self._end_of_text:
            parts[-1] += self._end_of_text
        learned = [place % 2 == 0 for place in range(len(parts))]
        tokens = tuple(chain.from_iterable(parts))
        mask = tuple(own for own, part in zip(learned, parts, strict=True) for _ in part)
        return Rollout(
            prompt=prompt,
            tokens=tokens,
            mask=mask,
            behavior_logprobs=(0.0,) * len(tokens),
            text=self.decode([token for token, own in zip(tokens, mask, strict=True) if own]),
            finished=True,
            version=DEMONSTRATED,
        )

    def transcript(self, example: Example) -> Transcript:
        """Returns prompt and completion as one text. Raises UserError as ``demonstration``."""
        if not self._is_chat(example):
            return self._plain_transcript(example)
        messages, turns = self._messages(example), self._turns(example)
        if messages[-1]["role"] == "assistant":
            begun, rest = messages[-1]["content"], turns[0]["content"]
            text = joined(begun, rest, self._encoder.guarded)
            turns = [{**turns[0], "content": text[len(begun) :]}, *turns[1:]]
        writer = self._writer(example, learned=True)
        if self.demonstrations == "appended":
            return writer.appended(messages, turns)
        return writer.written(messages, turns, example.context_turns)

    def refuse_unread_arguments(self) -> None:
        """Raises UserError for one of the task's template arguments that a template is there to read and does not."""
        if self.tokenizer.chat_template is not None and self.chat != "never":
            self._template.refuse_unread()

    def unread_arguments(self, example: Example) -> list[str]:
        """Returns the names of the row's own template arguments that change nothing here."""
        return self._template.unread(example)

    @property
    def tells_date(self) -> bool:
        """Says whether prompts hold the date of the day."""
        return self.chat != "never" and self._template.tells_date

    def decode(self, tokens: Sequence[int]) -> str:
        """The tokens as text, special tokens and those that end a completion left out, and of an answer in channels all
        before its final one."""
        return self._decoder.text(tokens)

    def turn(self, tokens: Sequence[int], finished: bool, example: Example) -> tuple[Reply, Message]:
        """A turn of the model's as an environment hears it and as a message: its text, and where the example has tools
        its calls, of which one that did not end has none. Raises UserError where nobody knows how calls are written."""
        tools = example.columns.get(TOOLS) if finished else None
        return self._calls.turn(self.decode(tokens), self._decoder.without_ends(tokens), tools or ())

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token's own share of ``decode(tokens)``, in order; a token that shows nothing has an empty one."""
        return self._decoder.pieces(tokens)

    @cached_property
    def stop_tokens(self) -> tuple[int, ...]:
        """Returns the ids that end a completion, ascending: EOS, what ends an assistant's turn in the template,
        ``eos_tokens``.

        Raises UserError where there is none.
        """
        eos = self.tokenizer.eos_token_id
        ends = {token for token in (eos, *self._turn_end.ids[-1:]) if token is not None}
        if not ends and not self.eos_tokens:
            raise UserError(
                f"{self.name}: the tokenizer has no EOS token and its chat template ends no turn with a special token, "
                "so that no completion could end; set eos_token in its tokenizer_config.json"
            )
        return tuple(sorted(ends | set(self.eos_tokens) | (self._turn_end.headers if self.converses else set())))

    def sampling(
        self, max_tokens: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
    ) -> Sampling:
        """Says how to draw completions that end where they should."""
        drawn = Sampling(max_tokens, temperature, top_k, top_p, min_p)
        return replace(drawn, stop_tokens=self.stop_tokens, stop_strings=self.stop_strings)

    @property
    def pad_token(self) -> int:
        """An id for places that the mask leaves out: the pad token, or where there is none a stop token."""
        pad = self.tokenizer.pad_token_id
        return self.stop_tokens[0] if pad is None else int(pad)

    def _is_chat(self, example: Example) -> bool:
        if self.tokenizer.chat_template is not None:
            return not isinstance(example.prompt, str) or self.chat != "never"
        if not isinstance(example.prompt, str):
            raise UserError(
                f"{example.id}: the prompt is a conversation, but {self.name} has no chat template; "
                "add chat_template.jinja to it or give prompts as plain text"
            )
        if self.chat == "always":
            raise UserError(f'chat="always", but {self.name} has no chat template; add chat_template.jinja to it')
        return False

    def _plain(self, example: Example) -> str:
        given = [("a system message", self.system), ("an argument of the chat template", self.template_arguments)]
        for what, value in (*given, (f"the column {TOOLS}", example.columns.get(TOOLS))):
            if value:
                raise UserError(
                    f"{example.id}: {what} needs a conversation, but this prompt is shown to {self.name} as plain "
                    "text; put it into the prompt"
                )
        return self._as_content(str(example.prompt), example)

    def _plain_transcript(self, example: Example) -> Transcript:
        if not isinstance(example.completion, str):
            raise UserError(f"{example.id}: several turns need a conversation, but {self.name} is shown plain text")
        before, rest = self._plain(example), self._as_content(example.completion, example)
        cut = len(before)
        text = before + rest if self.chat == "never" else joined(before, rest, self._encoder.guarded)
        return Transcript(text, ((cut, len(text)),), ended=False)

    def _as_content(self, text: str, example: Example) -> str:
        return text if self.chat == "never" and isinstance(example.prompt, str) else self._guarded(text, example)

    def _messages(self, example: Example) -> list[Message]:
        said = [{"role": "user", "content": example.prompt}] if isinstance(example.prompt, str) else example.prompt
        messages: list[Message] = [self._shown(message, example) for message in said]
        last = messages[-1]["role"] if messages else "nobody"
        if last in ("nobody", "system") or (last == "assistant" and {m["role"] for m in messages[:-1]} <= {"system"}):
            raise UserError(f"{example.id}: the conversation ends with {last}; expected a user's message last")
        if self.system is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.system})
        return messages

    def _turns(self, example: Example) -> list[Message]:
        """What is to be learned, as messages that begin and end with the assistant's."""
        if isinstance(example.completion, str):
            return [{"role": "assistant", "content": self._guarded(example.completion, example)}]
        turns: list[Message] = [self._shown(message, example) for message in example.completion or ()]
        if not turns or {turns[0]["role"], turns[-1]["role"]} != {"assistant"}:
            raise UserError(f"{example.id}: the completion does not begin and end with the assistant's turn")
        return turns

    def _writer(self, example: Example, learned: bool = False) -> Writer:
        def fill(messages: Sequence[Message], generate: bool, goes_on: bool) -> str:
            return self._template.fill(messages, example, generate, goes_on)

        ends = (self._turn_end.texts(self.stop_tokens), self._turn_end.tail) if learned else ()
        return Writer(fill, example.id, self.name, *ends)

    @cached_property
    def _turn_end(self) -> TurnEnd:
        return TurnEnd(self.tokenizer, self._template, self._encoder)

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer, self.name, self.template_arguments, self.today)

    @cached_property
    def _calls(self) -> CallReader:
        return CallReader(self.tokenizer, self.name, self._template.fill, self._template.knows_tools)

    def _shown(self, message: Message, example: Example) -> Message:
        """A message as the template takes it: no special token in what anybody says, no tag in what a tool does."""
        given = guarded_message(message, lambda text, markup: self._guarded(text, example, markup))
        return self._calls.shown(given) if given.get("tool_calls") else given

    def _guarded(self, text: str, example: Example, markup: bool = False) -> str:
        if GUARD in text:
            raise UserError(f"{example.id}: the text holds U+FDD0, which is no character; remove it")
        return self._encoder.guarded(text, markup)

    @cached_property
    def _encoder(self) -> Encoder:
        return Encoder(self.tokenizer)

    @cached_property
    def _decoder(self) -> Decoder:
        return Decoder(self.tokenizer, self.stop_tokens)

    @property
    def _end_of_text(self) -> tuple[int]:
        eos = self.tokenizer.eos_token_id
        return (self.stop_tokens[0] if eos is None else int(eos),)
