"""This module knows models that answer in channels (gpt-oss): what is meant for the reader stands in the last one, and
is the answer.

<|channel|> analysis <|message|> 2 and 3 ... <|end|> <|start|> assistant <|channel|> final <|message|> 5 <|return|>
                                                                                                       ^ shown
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

CHANNEL, MESSAGE = "<|channel|>", "<|message|>"
FINAL = "final"


class Channels:
    """These are the channels of a tokenizer that has them as special tokens; of any other, nothing."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        ids = {token.content: id for id, token in tokenizer.added_tokens_decoder.items() if token.special}
        self._opens, self._begins = ids.get(CHANNEL), ids.get(MESSAGE)

    def start(self, tokens: Sequence[int]) -> int:
        """Finds where the text of the last final channel begins; 0 where there is none: then all is shown."""
        if self._opens is None or self._begins is None:
            return 0
        ends = len(tokens)
        for place in range(len(tokens) - 1, -1, -1):
            if tokens[place] == self._begins:
                ends = place
            elif tokens[place] == self._opens and ends < len(tokens):
                name = str(self._tokenizer.decode(list(tokens[place + 1 : ends])))
                if name.strip().startswith(FINAL):
                    return ends + 1
        return 0
