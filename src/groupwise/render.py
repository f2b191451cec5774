"""Messages <-> token ids and the mask: the only place that knows a chat template.

A prompt and its demonstration through a template that writes ``<|user|>2+2=<|end|><|assistant|>4<|end|>``::

    Prompt.tokens     <|user|>  2  +  2  =  <|end|>  <|assistant|>
    Rollout.tokens                                                  4   <|end|>
    Rollout.mask                                                    1   1

The prompt's ids are the same ids whether the model samples or is shown what follows: the completion is encoded by
itself, never together with the prompt. What a template writes after the token that ends a turn is left out: no model
ever samples it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from groupwise.errors import UserError
from groupwise.pieces import Pieces
from groupwise.types import DEMONSTRATED, Example, Message, Prompt, Rollout, Sampling

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

GUARD = "\ufdd0"
"""A Unicode noncharacter. It cuts special-token text in two while the template is filled in, and is gone thereafter."""


@dataclass(frozen=True)
class Renderer:
    """Turns examples into tokens and tokens into text, for one tokenizer and one way of prompting.

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

    def prompt(self, example: Example) -> Prompt:
        """The example's prompt as tokens, up to where the model's answer begins.

        Raises UserError for a conversation without a chat template, one that does not leave the word to the
        assistant, one that the template refuses, and a prompt that has no tokens.
        """
        if self._is_chat(example):
            tokens = self._encode(self._fill(self._messages(example), example))
        else:
            tokens = self._opening + self._encode(self._plain(example))
        if not tokens:
            raise UserError(f"{example.id}: the prompt is empty; expected at least one token")
        return Prompt(example, tokens)

    def demonstration(self, example: Example) -> Rollout:
        """The example's completion as a rollout: every token of it is trained on, the one that ends the turn included.

        Raises UserError where the example has no completion, where the template rewrites the prompt once an answer
        follows it, and for what ``prompt`` raises.
        """
        if not isinstance(example.completion, str):
            raise UserError(f"{example.id}: no completion to demonstrate; expected one text")
        prompt = self.prompt(example)
        if self._is_chat(example):
            tokens = self._encode(self._answer_in_chat(example)) + (self._turn_end or self._end_of_text)
        else:
            tokens = self._encode(self._as_content(example.completion, example))
            tokens += () if tokens[-1:] == self._end_of_text else self._end_of_text
        return Rollout(
            prompt=prompt,
            tokens=tokens,
            mask=(True,) * len(tokens),
            behavior_logprobs=(0.0,) * len(tokens),
            text=self.decode(tokens),
            finished=True,
            version=DEMONSTRATED,
        )

    def decode(self, tokens: Sequence[int]) -> str:
        """The tokens as text, special tokens and those that end a completion left out."""
        kept = [token for token in tokens if token not in self.stop_tokens]
        return str(self.tokenizer.decode(kept, skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def pieces(self, tokens: Sequence[int]) -> list[str]:
        """Each token's own share of ``decode(tokens)``, in order; a token that shows nothing has an empty one."""
        hidden = self._hidden
        shown = iter(self._pieces.of([token for token in tokens if token not in hidden]))
        return ["" if token in hidden else next(shown) for token in tokens]

    @cached_property
    def stop_tokens(self) -> tuple[int, ...]:
        """Ids that end a completion, ascending: EOS, what ends an assistant's turn in the template, ``eos_tokens``.

        Raises UserError where there is none.
        """
        eos = self.tokenizer.eos_token_id
        ends = {token for token in (eos, self._turn_end[-1] if self._turn_end else None) if token is not None}
        if not ends and not self.eos_tokens:
            raise UserError(
                f"{self.name}: the tokenizer has no EOS token and its chat template ends no turn with a special token, "
                "so that no completion could end; set eos_token in its tokenizer_config.json"
            )
        return tuple(sorted(ends | set(self.eos_tokens)))

    def sampling(
        self, max_tokens: int, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0
    ) -> Sampling:
        """How to draw completions that end where they should."""
        pieces = self._token_bytes if self.stop_strings else ()
        return Sampling(
            max_tokens,
            temperature,
            top_k,
            top_p,
            min_p,
            stop_tokens=self.stop_tokens,
            stop_strings=self.stop_strings,
            pieces=pieces,
        )

    @cached_property
    def _token_bytes(self) -> tuple[bytes, ...]:
        return self._pieces.spelled(len(self.tokenizer))

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
        if self.system is not None:
            raise UserError(
                f"{example.id}: a system message needs a conversation, but this prompt is shown to {self.name} as "
                "plain text; put it into the prompt"
            )
        return self._as_content(str(example.prompt), example)

    def _as_content(self, text: str, example: Example) -> str:
        return text if self.chat == "never" and isinstance(example.prompt, str) else self._guarded(text, example)

    def _messages(self, example: Example) -> list[Message]:
        said = [{"role": "user", "content": example.prompt}] if isinstance(example.prompt, str) else example.prompt
        messages: list[Message] = [
            {**message, "content": self._guarded(message["content"], example)} for message in said
        ]
        if not messages or messages[-1]["role"] in ("assistant", "system"):
            last = messages[-1]["role"] if messages else "nobody"
            raise UserError(f"{example.id}: the conversation ends with {last}; expected a user's message last")
        if self.system is not None and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self.system})
        return messages

    def _answer_in_chat(self, example: Example) -> str:
        """The completion as the template writes it, without what ends the turn."""
        messages = self._messages(example)
        answer = {"role": "assistant", "content": self._guarded(str(example.completion), example)}
        before = self._fill(messages, example)
        after = self._fill([*messages, answer], example, generate=False)
        if not after.startswith(before):
            raise UserError(
                f"{example.id}: the chat template of {self.name} rewrites the prompt once an answer follows it, so "
                "that the model would learn on another prompt than it is asked; use a template that only appends"
            )
        return after[len(before) :].removesuffix(self._turn_tail)

    def _fill(self, messages: Sequence[Message], example: Example, generate: bool = True) -> str:
        from jinja2 import TemplateError

        conversation = [dict(message) for message in messages]
        try:
            return str(self.tokenizer.apply_chat_template(conversation, tokenize=False, add_generation_prompt=generate))
        except TemplateError as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"{example.id}: the chat template of {self.name} refuses the conversation ({reason}); "
                "change the conversation or the template"
            ) from error

    def _guarded(self, text: str, example: Example) -> str:
        if GUARD in text:
            raise UserError(f"{example.id}: the text holds U+FDD0, which is no character; remove it")
        for special in self._special_texts:
            text = text.replace(special, special[0] + GUARD + special[1:])
        return text

    def _encode(self, text: str) -> tuple[int, ...]:
        pieces = text.split(GUARD)
        return tuple(id for piece in pieces for id in self.tokenizer.encode(piece, add_special_tokens=False))

    @cached_property
    def _special_texts(self) -> list[str]:
        added = self.tokenizer.added_tokens_decoder.values()
        special = {token.content for token in added if token.special} | set(self.tokenizer.all_special_tokens)
        return sorted((text for text in special if len(text) > 1), key=len, reverse=True)

    @cached_property
    def _hidden(self) -> frozenset[int]:
        """What ``decode`` leaves out."""
        added = self.tokenizer.added_tokens_decoder.items()
        special = {id for id, token in added if token.special} | set(self.tokenizer.all_special_ids)
        return frozenset(self.stop_tokens) | special

    @cached_property
    def _pieces(self) -> Pieces:
        return Pieces(self.tokenizer)

    @cached_property
    def _opening(self) -> tuple[int, ...]:
        """What the tokenizer puts before plain text, such as BOS; what it may put behind it is not for a prompt."""
        bare = self.tokenizer.encode("a", add_special_tokens=False)
        whole = self.tokenizer.encode("a", add_special_tokens=True)
        return tuple(whole[: whole.index(bare[0])])

    @cached_property
    def _turn_tail(self) -> str:
        """The text that the template writes after an assistant's message."""
        answer = "ANSWER"
        probe = Example("the chat template's probe", "question")
        turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
        return self._fill(turns, probe, generate=False).rpartition(answer)[2]

    @cached_property
    def _turn_end(self) -> tuple[int, ...]:
        """The ids that end an assistant's turn in the template, up to its first special token; empty: it has none."""
        if self.tokenizer.chat_template is None:
            return ()
        tail = self._encode(self._turn_tail)
        special = self.tokenizer.added_tokens_decoder
        end = next((index for index, token in enumerate(tail) if token in special), None)
        return () if end is None else tail[: end + 1]

    @property
    def _end_of_text(self) -> tuple[int]:
        eos = self.tokenizer.eos_token_id
        return (self.stop_tokens[0] if eos is None else int(eos),)
