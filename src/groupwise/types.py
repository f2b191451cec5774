"""The nouns of the project: frozen values, plain Python, no torch. Shapes are shown on one worked example.

The example, with one character a token: prompt ``2+2=`` and completion ``4.`` where ``.`` is the EOS token::

    Prompt.tokens               2  +  2  =
    Rollout.tokens                          4   .        T = 2: all that follows the prompt
    Rollout.mask                            1   1        the policy sampled both; EOS is sampled, so it is trained on
    Rollout.behavior_logprobs             -0.1 -0.2      natural logs, at the sampling temperature
    Rollout.rewards                            {1: 1.0}  an outcome sits on the last sampled token

A second turn simply goes on in the same rollout; what a tool or an environment said has mask 0::

    Rollout.tokens                          4   .   why?  .   two  twos  .
    Rollout.mask                            1   1    0    0    1    1    1

Where the conversation was written anew, a further sequence of the same episode begins (``restarts``)::

    Rollout.tokens                          4   .   2+2=  4  why?  .   two  twos  .
    Rollout.mask                            1   1    0    0    0   0    1    1    1     restarts = (2,)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from groupwise.values.keys import prompt_key
from groupwise.values.sequences import SequenceIds, sequences_of
from groupwise.values.spans import Span, check_spans
from groupwise.values.tolerance import differ
from groupwise.values.trainer_state import OVER as OVER
from groupwise.values.trainer_state import TrainerState as TrainerState

Message = Mapping[str, Any]
"""One chat message: ``{"role": "user" | "assistant" | "system" | ..., "content": text}``, maybe ``tool_calls``."""

Text = str | tuple[Message, ...]
"""Plain text, or a conversation."""


@dataclass(frozen=True)
class Example:
    """An example is one row of a task, whatever file and column convention it came from."""

    id: str
    """Where it came from, as an error message names it: ``train.jsonl:17``. Unique within its split."""
    prompt: Text
    completion: Text | None = None
    """A demonstration (SFT): the assistant's turn, or messages that begin and end with one, all of it learned."""
    answer: str | None = None
    """The reference answer, where the task has one."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Every column of the row by its original name; rewards receive them by name."""
    alternatives: tuple[str, ...] = ()
    """Further reference answers, each as right as ``answer``."""
    is_bad: bool = False
    """The row labels its own completion a bad one, which is therefore no demonstration."""
    context_turns: tuple[int, ...] = field(default=(), repr=False)
    """Where in the messages of ``completion`` turns of the assistant's stand that are context, as what others say: they
    have mask 0. Neither its first nor its last message is one."""
    held_out_set: str = field(default="", repr=False)
    """The name of the set that it belongs to, where a task holds several out. Empty: its ``data_source``, if any."""


@dataclass(frozen=True)
class Prompt:
    """An example whose prompt has been turned into tokens, once."""

    example: Example
    tokens: tuple[int, ...]
    opens_thinking: bool = False
    """Whether it ends inside a thinking block that the chat template opened: the completion begins in it."""
    world: int | None = None
    """The seed of its environment, for all rollouts of its group; None: it has none."""
    messages: tuple[Message, ...] = ()
    """With an environment: what was said before the model's first turn."""
    reference_tokens: tuple[int, ...] = ()
    """What a reference reads in place of ``tokens`` that sees more of the row (``Reference.sees``); empty: the same."""

    @cached_property
    def key(self) -> bytes:
        """Returns a key that is equal for prompts that are the same to a network, whatever rows they came from."""
        return prompt_key(self.tokens)


@dataclass(frozen=True)
class Sampling:
    """This says how an engine draws the next token."""

    max_tokens: int
    temperature: float = 1.0
    """Logits are divided by it before the softmax. 0 is greedy; log-probabilities are then those at temperature 1."""
    top_k: int = 0
    """0: off."""
    top_p: float = 1.0
    min_p: float = 0.0
    stop_tokens: tuple[int, ...] = ()
    """A completion ends after any of these; the stop token belongs to the completion."""
    stop_strings: tuple[str, ...] = ()
    """A completion ends with the token that completes any of these; all of that token belongs to it."""


@dataclass(frozen=True)
class Request:
    """A group to sample: one prompt, one completion for each seed. The prompt is computed once."""

    tokens: tuple[int, ...]
    seeds: tuple[int, ...]
    """Each completion has a random stream of its own, so that neither batch size nor order changes it. The token at
    place p behind the prompt takes number p of the stream."""
    forced: tuple[int, ...] = ()
    """Ids that each completion begins with, behind the prompt: what was drawn before, what an environment said. They
    take their places in the random stream, and the ``Completion`` leaves them out."""
    max_tokens: int | None = None
    """Tokens to draw, where fewer than ``Sampling.max_tokens``."""
    keep: bool = False
    """Whether the engine may keep what it has computed of the completions, for a request that ``follows`` one. Until it
    does, or this request is cancelled, or the stream closed, that takes memory."""
    follows: tuple[int, int] | None = None
    """The number of an earlier request of the stream and the index of its completion that this one goes on from. Only
    a hint, which saves time: ``tokens`` and ``forced`` say everything."""

    def resumed(self, number: int, index: int, drawn: Sequence[int], then: Sequence[int] = ()) -> Request:
        """Returns the request that goes on from completion ``index``, whose tokens are ``drawn``, with ``then`` behind
        it; ``number`` is this request's in its stream."""
        forced = (*self.forced, *drawn, *then)
        return Request(self.tokens, (self.seeds[index],), forced, self.max_tokens, self.keep, (number, index))

    @cached_property
    def key(self) -> bytes:
        """Returns what ``Prompt.key`` returns: requests with one key have one prompt, which an engine computes once."""
        return prompt_key(self.tokens)

    @cached_property
    def prefix_key(self) -> bytes:
        """Returns a key of the prompt and of what is forced behind it: all that an engine computes before it draws."""
        return prompt_key(self.forced, self.key) if self.forced else self.key


@dataclass(frozen=True)
class Completion:
    """A completion is what an engine returns: token ids and the log-probability each had when it was drawn."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    finished: bool
    """True: a stop token ended it. False: truncated at ``max_tokens`` or at the end of the context."""
    version: int
    """Of the weights that drew it (``RolloutEngine.load``), the oldest where there were several."""
    support: tuple[tuple[int, ...], ...] | None = None
    """Where top-k, top-p or min-p narrowed the choice: for each token the ids that it was drawn from."""
    versions: tuple[Span, ...] = ()
    """Which weights drew which tokens, where new ones came while it was sampled; empty: ``version`` drew them all."""

    def __post_init__(self) -> None:
        check_spans(self.versions, self.version, len(self.tokens))

    @property
    def spans(self) -> tuple[Span, ...]:
        """Says which weights drew which tokens: one span where no new ones came."""
        return self.versions or ((self.version, len(self.tokens)),)


@dataclass(frozen=True, slots=True)
class TokenEvent:
    """This event says that a token was drawn."""

    request: int  # the number that ``Stream.submit`` gave
    index: int  # of the completion in its request
    token: int


@dataclass(frozen=True, slots=True)
class CompletionEvent:
    """This event says that a completion has ended."""

    request: int  # the number that ``Stream.submit`` gave
    index: int
    completion: Completion


Event = TokenEvent | CompletionEvent


DEMONSTRATED = -1
"""``Rollout.version`` of a completion that no model drew."""
ANOTHER_POLICY = -2
"""Of one that another model drew than the one that learns, or at another temperature than is trained at."""

ScoreStatus = Literal["scored", "unparseable", "timeout", "failed", "not_applicable"]

Stop = Literal["finished", "truncated", "turns", "context", "timeout", "failed"]  # of docs/turns.md


@dataclass(frozen=True)
class Score:
    """A score is what one reward says of one rollout. ``unparseable`` still carries a value (usually 0); a value of
    None is excluded from the group's statistics and gives no advantage."""

    value: float | None
    status: ScoreStatus = "scored"
    steps: Mapping[int, float] = field(default_factory=dict)
    """Process supervision: index into ``Rollout.tokens`` of each step's last token -> its score."""
    cached: bool | None = field(default=None, compare=False)
    """Whether it was known already, where the reward keeps what it said; no part of what it says."""
    reason: str = field(default="", compare=False)
    """Why it timed out or failed."""
    logged: Mapping[str, float] = field(default_factory=dict)
    """Numbers that the reward gave beside its value, by name: each one's mean is a metric of the step."""
    extras: Mapping[str, Any] = field(default_factory=dict)
    """Plain values that it gave beside its value, by name: they stand in the ledger."""
    dated: bool = field(default=False, compare=False)
    """Whether it depends on where training stood, so that it cannot be kept for another time."""
    right: bool | None = None  # the verdict, where the reward says one itself; None: the value decides


@dataclass(frozen=True)
class Rollout:
    """A rollout is one attempt at a prompt, all turns. See the module's worked example."""

    prompt: Prompt
    tokens: tuple[int, ...]
    mask: tuple[bool, ...]
    behavior_logprobs: tuple[float, ...]
    text: str
    """The sampled tokens as text, special tokens left out: what rewards read."""
    finished: bool
    version: int
    """Of the weights that drew it, the oldest where there were several; or ``DEMONSTRATED``, or ``ANOTHER_POLICY``."""
    rewards: Mapping[int, float] = field(default_factory=dict)
    """Token index -> reward; empty: not scored. Never overwritten by an advantage."""
    scores: Mapping[str, Score] = field(default_factory=dict)
    """Each reward's own words, by its name, before weighting."""
    steps: tuple[int, ...] = ()
    """Index into ``tokens`` of each reasoning step's last token, where the task says what a step is."""
    support: tuple[tuple[int, ...], ...] | None = None
    """For each of ``tokens`` the ids that it was drawn from, over which the learner renormalises. None: all."""
    correct: bool | None = None
    """The verdict of the task's judge (``verdicts.Judge``); None where it was not asked or could not score."""
    versions: tuple[Span, ...] = ()
    """As ``Completion.versions``, of ``tokens``; what the policy has not sampled belongs to the span it stands in."""
    stop: Stop | None = None
    """Why its episode ended; None: it has no environment, and ``finished`` says all."""
    turns: tuple[int, ...] = ()
    """With an environment: index into ``tokens`` of each turn's last sampled token."""
    messages: tuple[Message, ...] = ()
    """With an environment: what was said behind ``Prompt.messages``, the model's turns included."""
    restarts: tuple[int, ...] = ()
    """Index into ``tokens`` of the first token of each further sequence, where the conversation was written anew: the
    network sees nothing of what stands before. Each begins with tokens of mask 0, which are its prompt."""

    def __post_init__(self) -> None:
        check_spans(self.versions, self.version, len(self.tokens))

    @property
    def sequences(self) -> tuple[SequenceIds, ...]:
        """Returns what a network reads at a time. Raises ValueError for a later one that does not begin with mask 0."""
        return sequences_of(self.prompt.tokens, self.tokens, self.mask, self.restarts)

    @property
    def length(self) -> int:
        """Returns how many tokens the longest of its sequences has, its prompt included."""
        return max(len(prompt) + len(tokens) for prompt, tokens in self.sequences)

    @property
    def spans(self) -> tuple[Span, ...]:
        """Says which weights drew which tokens: one span where no new ones came."""
        return self.versions or ((self.version, len(self.tokens)),)

    @property
    def last(self) -> int:
        """Returns the index of the last sampled token. Raises ValueError where the policy sampled none."""
        return len(self.mask) - 1 - self.mask[::-1].index(True)

    @property
    def reward(self) -> float | None:
        """Returns the sum of all rewards; None where nothing could score it."""
        return sum(self.rewards.values()) if self.rewards else None


@dataclass(frozen=True)
class Group:
    """The rollouts of one prompt. A demonstration is a group of one; a preference pair is chosen, then rejected."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    greedy_reward: float | None = None
    """Of the greedy completion, where the source was asked for one: a baseline (ReMax)."""

    @property
    def informative(self) -> bool:
        """Says whether rewards differ, by more than rounding: only such a group has a group-relative advantage."""
        return differ(rollout.reward for rollout in self.rollouts if rollout.reward is not None)


def flatten(groups: Sequence[Group]) -> list[Rollout]:
    """Returns all rollouts, group by group: row ``i`` of every ``[B, ...]`` tensor is ``flatten(groups)[i]``."""
    return [rollout for group in groups for rollout in group.rollouts]
