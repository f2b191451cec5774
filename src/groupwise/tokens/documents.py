"""This module knows rows that are plain text, with nothing asked: what says so, what tells one row from another, and
their tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from groupwise.errors import UserError
from groupwise.tokens.encoding import Encoder
from groupwise.types import Example

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from groupwise.tokens.renderer import Renderer


def is_document(example: Example) -> bool:
    """Says whether the row is plain text, its ``completion``, that answers nothing: there is no prompt."""
    return example.prompt == "" and isinstance(example.completion, str)


def content_of(example: Example) -> str:
    """Returns what makes two rows the same: the prompt, or the text of a document."""
    return str(example.completion) if is_document(example) else str(example.prompt)


def document_ids(renderer: Renderer, example: Example) -> tuple[int, ...]:
    """Returns the ids of a document's text, in which no special token is spelled, and EOS behind them.

    Raises UserError for a row that is no document.
    """
    if not is_document(example):
        raise UserError(
            f"{example.id}: the row has a prompt, and what is read as it stands is a document; expected its text in a "
            "column text, or a method that learns from answers, such as sft"
        )
    encoder = _encoder(renderer.tokenizer)
    return (*encoder.ids(encoder.guarded(str(example.completion))), end_of_text(renderer))


def end_of_text(renderer: Renderer) -> int:
    """Returns the id that ends a text: EOS, or where there is none a stop token."""
    eos = renderer.tokenizer.eos_token_id
    return renderer.stop_tokens[0] if eos is None else int(eos)


@lru_cache(maxsize=2)
def _encoder(tokenizer: PreTrainedTokenizerBase) -> Encoder:
    return Encoder(tokenizer)
