"""A model of ours as lm-eval's ``LM``: ``lm_eval --model groupwise --model_args pretrained=DIR``.

Generations come from the engine that evaluates and trains, log-likelihoods from the learner's forward pass.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.api.model import LM
from lm_eval.api.registry import register_model
from lm_eval.utils import get_rolling_token_windows

from groupwise.harness.pairs import encoded, pair
from groupwise.seeding import stable_seed
from groupwise.types import DEMONSTRATED, Example, Prompt, Request, Rollout

MOST_TOKENS = 256  # of a generation for which a task says no number
TOKEN_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # lm-eval's, the first counts
TOGETHER = 64  # rollouts whose log-probabilities are asked for at once


@register_model("groupwise")
class GroupwiseLM(LM):  # type: ignore[misc]  # lm-eval has no types
    """This model for lm-eval is an engine and a learner on one model directory or hub name."""

    def __init__(
        self,
        pretrained: str,
        device: str | None = None,
        dtype: str = "float32",
        max_gen_toks: int = MOST_TOKENS,
        seed: int = 0,
        batch_size: object = None,
        **ignored: object,
    ) -> None:
        """Opens the model. ``batch_size`` means nothing here: the engine decides by itself. Raises UserError where
        there is no model, or an argument is not known."""
        from groupwise.errors import UserError
        from groupwise.harness.version import refuse_version
        from groupwise.learners import Local

        super().__init__()
        refuse_version()
        unknown = sorted(set(ignored) - {"max_batch_size", "trust_remote_code"})
        if unknown:
            raise UserError(f"model_args {unknown[0]}: not known; expected pretrained, dtype, max_gen_toks or seed")
        kind = device if device in ("cpu", "cuda") else "auto"
        self.learner = Local(device=kind, dtype=dtype).open(pretrained)  # type: ignore[arg-type]
        self.source, self.max_gen_toks, self.seed = pretrained, max_gen_toks, seed
        self.tokenizer = self.learner.tokenizer

    @cached_property
    def renderer(self) -> Any:
        """Writes prompts as they stand: the harness has filled the template already."""
        from groupwise.tokens.renderer import Renderer

        stops = self.learner.stop_tokens
        return Renderer(self.tokenizer, None, "never", name=self.source, eos_tokens=stops)

    @cached_property
    def engine(self) -> Any:
        """Samples with the learner's own weights."""
        from groupwise.engines import Native

        return Native().open(self.source, self.learner.live_module(), self.tokenizer, _note)

    @property
    def tokenizer_name(self) -> str:
        """Returns the tokenizer's name, by which lm-eval tells chat templates apart."""
        return str(self.source).replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The template's text, of which the harness keeps a fingerprint."""
        return str(self.tokenizer.chat_template or "") if chat_template else ""

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The conversation as the model's own template writes it."""
        return str(
            self.tokenizer.apply_chat_template(
                chat_history,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=not add_generation_prompt,
            )
        )

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Returns the log-probability of each continuation behind its context, and whether greedy decoding would write
        it."""
        room = self.learner.context_tokens
        pairs = [pair(self.tokenizer, self._first(), *request.args) for request in requests]
        rollouts = [
            self._rollout(before[-max(1, room + 1 - len(after)) :] or (self._first(),), after)
            for before, after in pairs
        ]
        totals = self._totals(rollouts)
        greedy = self._greedy(rollouts)
        return list(zip(totals, greedy, strict=True))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """Returns the log-probability of each text from its first token on, in windows that fill the context."""
        found, owners = [], []
        for number, request in enumerate(requests):
            ids = tuple(self.tokenizer.encode(request.args[0], add_special_tokens=False))
            for read, after in get_rolling_token_windows(list(ids), self._first(), self.learner.context_tokens, 1):
                found.append(self._rollout(read[: len(read) - len(after) + 1], after))
                owners.append(number)
        sums = [0.0] * len(requests)
        for owner, total in zip(owners, self._totals(found), strict=True):
            sums[owner] += total
        return sums

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """Returns what the engine writes behind each context, up to the first of its stop texts, which is left out."""
        from groupwise.sources.rollouts import drawn
        from groupwise.tasks.task import Task

        answers = [""] * len(requests)
        for settings, places in _alike([request.args[1] for request in requests]).items():
            most, temperature, top_p, top_k, until = settings
            renderer = replace(self.renderer, stop_strings=until)
            room = self.engine.context_tokens - (most or self.max_gen_toks)
            rows = [Example(str(place), requests[place].args[0]) for place in places]
            prompts = [self._prompt(row, max(1, room)) for row in rows]
            sampling = renderer.sampling(most or self.max_gen_toks, temperature, top_k, top_p)
            seeds = [(each,) for each in _seeds(self.seed, [requests[place].args[0] for place in places])]
            for row, _, rollout in drawn(self.engine, renderer, Task("lm-eval", ()), prompts, seeds, sampling):
                answers[places[row]] = _cut(rollout.text, until)
        return answers

    def _prompt(self, row: Example, most: int) -> Prompt:
        """The context as ids, special tokens of a filled template among them; of a longer one the end."""
        return Prompt(row, encoded(self.tokenizer, str(row.prompt))[-most:] or (self._first(),))

    def _first(self) -> int:
        """What stands before a text: BOS, or where there is none EOS."""
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        return int(eos if bos is None else bos)

    def _rollout(self, before: Sequence[int], after: Sequence[int]) -> Rollout:
        size = len(after)
        prompt = Prompt(Example("lm-eval", ""), tuple(before))
        return Rollout(prompt, tuple(after), (True,) * size, (0.0,) * size, "", True, DEMONSTRATED)

    def _totals(self, rollouts: Sequence[Rollout]) -> list[float]:
        found: list[float] = []
        for start in range(0, len(rollouts), TOGETHER):
            part = rollouts[start : start + TOGETHER]
            found += self.learner.logprobs(part, 1.0).double().sum(dim=1).tolist()
        return found

    def _greedy(self, rollouts: Sequence[Rollout]) -> list[bool]:
        """Says whether the engine's greedy completion of each prompt begins with the rollout's tokens."""
        from groupwise.types import Sampling

        most = max((len(each.tokens) for each in rollouts), default=1)
        requests = []
        for each in rollouts:
            room = max(1, self.engine.context_tokens - len(each.tokens))
            requests.append(Request(each.prompt.tokens[-room:], (0,), max_tokens=len(each.tokens)))
        same = [False] * len(rollouts)
        for number, _, completion in self.engine.generate(requests, Sampling(most, temperature=0.0)):
            same[number] = completion.tokens == rollouts[number].tokens
        return same


def _note(text: str) -> None:
    print(text, file=sys.stderr)


def _alike(settings: Sequence[dict[str, Any]]) -> dict[tuple[Any, ...], list[int]]:
    """Places of requests by the settings that they share."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for place, each in enumerate(settings):
        until = each.get("until") or ()
        until = (until,) if isinstance(until, str) else tuple(filter(None, until))
        most = next((int(each[name]) for name in TOKEN_LIMITS if each.get(name) is not None), 0)
        key = (most, _temperature(each), float(each.get("top_p") or 1.0), int(each.get("top_k") or 0), until)
        found.setdefault(key, []).append(place)
    return found


def _temperature(settings: dict[str, Any]) -> float:
    """The temperature as lm-eval reads it: none where a task says that nothing is sampled, one where it says only that
    something is."""
    given, samples = settings.get("temperature"), settings.get("do_sample")
    if samples is False or (given is None and not samples):
        return 0.0
    return 1.0 if given is None else float(given)


def _seeds(seed: int, contexts: Sequence[str]) -> list[int]:
    """A seed for each context; where one is asked again, another."""
    asked: Counter[str] = Counter()
    found = []
    for context in contexts:
        found.append(stable_seed(seed, context, asked[context]))
        asked[context] += 1
    return found


def _cut(text: str, until: Sequence[str]) -> str:
    """The text before the first of the stop texts."""
    return text[: min((place for stop in until if stop and (place := text.find(stop)) >= 0), default=len(text))]
