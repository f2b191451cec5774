"""An audit's answers as tokens, for rewards that read those."""

from __future__ import annotations

from dataclasses import replace

from groupwise.audit.cases import Case
from groupwise.audit.scoring import Written
from groupwise.sources import with_steps
from groupwise.tokens.renderer import Renderer
from groupwise.tokens.segmentation import Segmentation
from groupwise.types import Rollout

CHARACTERS_A_TOKEN = 100
"""No tokenizer's tokens are so long on average."""


def with_tokens(renderer: Renderer, steps: Segmentation | None, context_tokens: int) -> Written:
    """Returns answers as this tokenizer's demonstrations, cut ones without what ends a completion.

    Of an answer that is far longer than the context only so much is kept that it still is; steps are not looked for in
    one that does not fit. Half a surrogate pair, which no tokenizer spells, becomes a question mark.
    """

    def written(case: Case) -> Rollout:
        text = case.text[: CHARACTERS_A_TOKEN * context_tokens].encode("utf-8", "replace").decode()
        rollout = renderer.demonstration(replace(case.example, completion=text))
        rollout = rollout if case.finished else _cut(rollout, renderer)
        too_long = len(rollout.prompt.tokens) + len(rollout.tokens) > context_tokens
        return rollout if steps is None or too_long else with_steps(rollout, renderer, steps)

    return written


def _cut(rollout: Rollout, renderer: Renderer) -> Rollout:
    kept = len(rollout.tokens) - (rollout.tokens[-1] in renderer.stop_tokens)
    return replace(
        rollout,
        tokens=rollout.tokens[:kept],
        mask=rollout.mask[:kept],
        behavior_logprobs=rollout.behavior_logprobs[:kept],
        finished=False,
    )
