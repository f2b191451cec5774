"""This module is one model's side of a talk, drawn token by token."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from groupwise.errors import UserError
from groupwise.output.counting import counted
from groupwise.output.printable import UNFINISHED
from groupwise.protocols import RolloutEngine
from groupwise.seeding import stable_seed
from groupwise.tokens.renderer import Renderer
from groupwise.types import Example, Message, Request


class TextStream:
    """A text stream takes tokens and gives text as soon as it is certain: a character whose bytes lie in several tokens
    comes out whole."""

    def __init__(self, decode: Callable[[list[int]], str]) -> None:
        self.decode = decode
        self.tokens: list[int] = []
        self.shown = ""

    def add(self, token: int) -> str:
        """Returns what the token adds; often nothing, sometimes several characters."""
        self.tokens.append(token)
        return self._up_to(self.decode(self.tokens).rstrip(UNFINISHED))

    def end(self) -> str:
        """Returns what was held back."""
        return self._up_to(self.decode(self.tokens))

    def _up_to(self, text: str) -> str:
        new = text[len(self.shown) :]
        self.shown += new
        return new


@dataclass(frozen=True)
class Answer:
    """A whole answer, and why it ends: ``finished`` by the model, ``truncated`` or ``stopped`` by the user."""

    text: str
    end: str


@dataclass
class Conversation:
    """A model and what was said so far: messages where there is a chat template, else one text that goes on."""

    label: str
    engine: RolloutEngine
    renderer: Renderer
    max_tokens: int
    temperature: float = 1.0
    seed: int = 0
    narrowed: tuple[int, float, float] = (0, 1.0, 0.0)
    """top-k, top-p and min-p."""
    remembers: bool = True
    """Whether what was said before is shown to it again; a model of single questions has never seen that."""
    begun: str = ""
    """How every answer begins: what the model was given of it in training. Left out without a chat template."""
    messages: list[Message] = field(default_factory=list)

    @property
    def has_template(self) -> bool:
        """Says whether the model's tokenizer has a chat template."""
        return self.renderer.tokenizer.chat_template is not None

    def ask(self, said: str, on_text: Callable[[str], None], is_stopped: Callable[[], bool] = lambda: False) -> Answer:
        """Returns the model's answer, given piece by piece to ``on_text``. A KeyboardInterrupt or ``is_stopped``, which
        is asked after every token, ends it there.

        Raises UserError where the conversation has become too long for the context; then it is as before.
        """
        before = self.messages if self.remembers else []
        messages: list[Message] = [*before, {"role": "user", "content": _encodable(said)}]
        tokens = self.renderer.prompt(Example("the conversation", self._shown_to_model(messages))).tokens
        if len(tokens) >= self.engine.context_tokens:
            raise UserError(
                f"{self.label}: the conversation has {counted(len(tokens), 'token')}, and its context of "
                f"{self.engine.context_tokens} leaves no room for an answer; say less, or start anew with /new"
            )
        begun = self.begun if self.has_template else ""
        if begun:
            on_text(begun)
        answer = self._draw(tokens, len(messages), on_text, is_stopped)
        answer = replace(answer, text=begun + answer.text)
        self.messages = [*messages, {"role": "assistant", "content": answer.text}]
        return answer

    def reset(self) -> None:
        """Begins anew: the model is not shown again what was said before."""
        self.messages = []

    def _shown_to_model(self, messages: list[Message]) -> str | tuple[Message, ...]:
        if not self.has_template:
            return "\n".join(message["content"] for message in messages)
        return (*messages, *([{"role": "assistant", "content": self.begun}] if self.begun else []))

    def _draw(
        self, tokens: tuple[int, ...], turn: int, on_text: Callable[[str], None], is_stopped: Callable[[], bool]
    ) -> Answer:
        stream, end = TextStream(self.renderer.decode), "truncated"
        sampling = self.renderer.sampling(self.max_tokens, self.temperature, *self.narrowed)
        request = Request(tokens, (stable_seed(self.seed, "chat", turn),))

        def hear(_request: int, _index: int, token: int) -> None:
            on_text(stream.add(token))
            if is_stopped():
                raise KeyboardInterrupt

        try:
            for _request, _index, completion in self.engine.generate([request], sampling, hear):
                end = "finished" if completion.finished else "truncated"
        except KeyboardInterrupt:
            end = "stopped"
        on_text(stream.end())
        return Answer(stream.shown, end)


def _encodable(text: str) -> str:
    """Returns a text without the lone surrogates that stand for bytes a terminal sent and no encoding knows."""
    return text.encode("utf-8", "replace").decode()
