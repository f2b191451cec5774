"""This module says what a stage's episodes are like: one of them with its mask, the template between turns, the context
they need, how long an environment takes, and whether it says the same twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby, zip_longest
from statistics import fmean
from typing import Any

from groupwise.errors import UserError
from groupwise.output.conversation import shortened
from groupwise.output.counting import counted
from groupwise.preflight.findings import Notebook
from groupwise.preflight.probe import Probe
from groupwise.rewards.episodes import EpisodeReward
from groupwise.sources import DrawContext
from groupwise.sources.episodes import open_prompts
from groupwise.tasks.episode_rows import row_of, with_tools
from groupwise.training.stage import Stage
from groupwise.types import Example, Message, Rollout, flatten

SHOWN_LETTERS = 400  # of one part of the episode
AGAIN = 2  # episodes that are played again
PATIENCE_SECONDS = 0.5
Said = Mapping[str, Any]


def tell_episodes(notes: Notebook, stage: Stage, context: DrawContext, probe: Probe) -> None:
    """Tells all of it, of the episodes that were probed."""
    rollouts, episodes = flatten(probe.groups), stage.task.episodes
    assert episodes is not None
    longest = max(rollouts, key=lambda rollout: len(rollout.turns))
    _tell_ends(notes, episodes, rollouts)
    _tell_mask(notes, context, longest)
    _tell_template(notes, context, episodes, longest)
    _tell_context(notes, stage, context, episodes, rollouts)
    _play_again(notes, context, episodes, rollouts)


def refuse_unbegun(context: DrawContext, probe: Probe) -> None:
    """Raises UserError, with the reason of the first row, where there are episodes and none of the probed ones began
    and fits."""
    episodes, row = context.task.episodes, context.task.train[0]
    if probe.groups or episodes is None:
        return
    [opened] = open_prompts(context.renderer, episodes, [(row, 0)])
    why = opened if isinstance(opened, str) else f"its opening has {counted(len(opened.tokens), 'token')}, too many"
    raise UserError(f"no episode of {episodes.name} could begin, of {probe.looked_at} tried; {row.id}: {why}")


def _tell_ends(notes: Notebook, episodes: EpisodeReward, rollouts: Sequence[Rollout]) -> None:
    """How many turns, why they ended, and what failed."""
    count = len(rollouts)
    stops = Counter(str(rollout.stop) for rollout in rollouts)
    turns = fmean(len(rollout.turns) for rollout in rollouts)
    told = ", ".join(f"{number / count:.0%} {stop}" for stop, number in stops.most_common())
    words = f"{episodes.name}: of {counted(count, 'episode')} probed {turns:.1f} turns on average; {told}"
    notes.fact("episodes", words, turns=turns, **{f"stops/{stop}": number / count for stop, number in stops.items()})
    reasons = Counter(rollout.scores[episodes.name].reason for rollout in rollouts)
    for reason, number in reasons.most_common():
        if reason:
            notes.remark("episodes", f"{number} of {counted(count, 'episode')} have no reward: {reason}")


def _tell_mask(notes: Notebook, context: DrawContext, rollout: Rollout) -> None:
    """One episode, part by part, special tokens and all: what was sampled is trained on, what was heard is not."""
    said, heard = sum(rollout.mask), rollout.mask.count(False)
    reward = "no reward" if rollout.reward is None else f"reward {rollout.reward:.3g}"
    words = f"{rollout.prompt.example.id}: {counted(len(rollout.turns), 'turn')}, {said} tokens sampled (mask 1), "
    notes.fact("an episode", f"{words}{heard} heard (mask 0); {rollout.stop}, {reward}", sampled=said, heard=heard)
    parts = [("prompt", rollout.prompt.tokens)]
    for own, pairs in groupby(zip(rollout.mask, rollout.tokens, strict=True), key=lambda pair: pair[0]):
        parts.append(("sampled" if own else "heard", tuple(token for _, token in pairs)))
    for kind, tokens in parts:
        text = context.renderer.tokenizer.decode(list(tokens), skip_special_tokens=False)
        notes.fact("", f"{kind} {len(tokens)}: {shortened(repr(str(text))[1:-1], SHOWN_LETTERS)}", kind=kind)


def _tell_template(notes: Notebook, context: DrawContext, episodes: EpisodeReward, rollout: Rollout) -> None:
    """Says whether it only appends, also behind a turn that thinks, and whether it shows tools."""
    renderer = context.renderer
    if not renderer.is_chat:
        notes.fact("template", "none: what an environment says is appended as it stands")
        return
    example = with_tools(rollout.prompt.example, episodes.environment)
    plain, thinking = (
        _rewritten(context, example, (*rollout.prompt.messages, {"role": "assistant", "content": answer}))
        for answer in ("an answer", "<think>\nwell\n</think>\n\nan answer")
    )
    if plain:
        tell = notes.problem if renderer.converses == "refuse" else notes.remark
        tell("template", f"it rewrites the conversation: {plain}")
    elif thinking and renderer.converses == "branch":
        notes.fact("template", "it only appends; behind a turn that thinks the next one begins a sequence of its own")
    elif thinking:
        notes.remark("template", f"it only appends, but not behind a turn that thinks: {thinking}")
    else:
        notes.fact("template", "it only appends, also behind turns that think: what was sampled stands")
    _tell_tools(notes, context, example)


def _rewritten(context: DrawContext, example: Example, before: Sequence[Message]) -> str:
    """Why its next message would not only be appended; empty where it is."""
    strict = replace(context.renderer, converses="refuse")
    try:
        strict.between.ids(example, before, ({"role": "user", "content": "and then"},), strict.stop_tokens[0])
    except UserError as error:
        return str(error).removeprefix(f"{example.id}: ")
    return ""


def _tell_tools(notes: Notebook, context: DrawContext, example: Example) -> None:
    names = [str(schema["function"]["name"]) for schema in example.columns.get("tools") or ()]
    if not names:
        return
    tokens = list(context.renderer.prompt(replace(example, prompt=example.prompt or "question")).tokens)
    shown = str(context.renderer.tokenizer.decode(tokens, skip_special_tokens=False))
    missing = [name for name in names if name not in shown]
    if missing:
        notes.problem("template", f"it does not show the model its tools: {', '.join(missing)} stand in no prompt")
    else:
        notes.fact("template", f"it shows the model its tools: {', '.join(names)}")


def _tell_context(
    notes: Notebook, stage: Stage, context: DrawContext, episodes: EpisodeReward, rollouts: Sequence[Rollout]
) -> None:
    """What the longest episode could need, where its environment says as much at each turn as it said here."""
    most, turns = stage.algorithm.source.max_completion_tokens, episodes.turns
    said = min(most, turns.most * (turns.turn_tokens or most))
    prompt = max(len(rollout.prompt.tokens) for rollout in rollouts)
    heard = [size for rollout in rollouts for size in _heard(rollout)]
    room = min(turns.context_tokens or context.engine.context_tokens, context.engine.context_tokens)
    between = max(heard, default=0)
    needed = prompt + said + (turns.most - 1) * between
    words = f"at most {counted(needed, 'token')}: {prompt} before the first turn, {said} sampled in all turns, "
    words += f"{turns.most - 1} x {between} heard between {counted(turns.most, 'turn')}; the context has {room:,}"
    if not heard and turns.most > 1:
        words += "; no second turn was drawn here, so what is heard is not known"
    if needed > room:
        notes.remark("context", f"an episode may need {words}: then it ends there, and its stop reason is context")
    else:
        notes.fact("context", words, needed=needed, room=room, prompt=prompt, sampled=said, heard=between)


def heard_at_most(episodes: EpisodeReward, rollouts: Sequence[Rollout]) -> int:
    """Returns how many tokens the longest episode holds beside the row's prompt and what the model says, where its
    environment says as much at each turn as it said in these."""
    opening = max((len(rollout.prompt.tokens) for rollout in rollouts), default=0)
    between = max((size for rollout in rollouts for size in _heard(rollout)), default=0)
    return opening + (episodes.turns.most - 1) * between


def _heard(rollout: Rollout) -> Iterator[int]:
    """Tokens of each stretch between turns, but for conversations that were written anew."""
    start = 0
    for own, run in groupby(rollout.mask):
        size = len(list(run))
        if not own and start not in rollout.restarts:
            yield size
        start += size


def _play_again(notes: Notebook, context: DrawContext, episodes: EpisodeReward, rollouts: Sequence[Rollout]) -> None:
    """Some of them twice more, with the same words, each time in another process: it must say the same."""
    chosen = sorted(rollouts, key=lambda rollout: -len(rollout.turns))[:AGAIN]
    seconds: list[float] = []
    for rollout in chosen:
        once_more = episodes.turns.processes  # so that two of the plays are in one process, which may count
        first, *others = (list(_replayed(context, episodes, rollout, seconds)) for _ in range(1 + once_more))
        for turn, (once, *more) in enumerate(zip_longest(first, *others)):
            again = next((each for each in more if each != once), once)
            if once != again:
                where = f"behind turn {turn}" if turn else "at the beginning"
                notes.remark(
                    "environment",
                    f"{rollout.prompt.example.id}: with the same seed and the same words it is not the same twice, "
                    f"{where}: {_short(once)}, and then {_short(again)}; members of a group should face one world, "
                    "and an episode whose process ends fails: draw from the random generator that it is given alone",
                )
                return
    words = f"{counted(len(chosen), 'episode')} played again with the same words said the same; a reply takes "
    mean, most = fmean(seconds), max(seconds)
    notes.fact("environment", f"{words}{_time(mean)} on average, {_time(most)} at most", mean=mean, longest=most)


def _replayed(
    context: DrawContext, episodes: EpisodeReward, rollout: Rollout, seconds: list[float]
) -> Iterator[Said | None]:
    """What the environment says to the turns of a rollout, one after the other; ``seconds`` hears what each took."""
    worlds, example = episodes.worlds, with_tools(rollout.prompt.example, episodes.environment)
    assert rollout.prompt.world is not None
    number = worlds.begin(row_of(example), rollout.prompt.world)
    taken, begin = 0.0, 0
    try:
        for end in (None, *rollout.turns):
            if end is not None:
                own = [t for t, m in zip(rollout.tokens[begin : end + 1], rollout.mask[begin:], strict=False) if m]
                is_whole = end != rollout.turns[-1] or rollout.stop not in ("truncated", "context")
                if not is_whole:
                    return
                worlds.say(number, context.renderer.turn(own, True, example)[0])
                begin = end + 1
            plain, total = _answer(episodes, number)
            seconds.append(total - taken)
            taken = total
            yield plain
            if plain is None or "says" not in plain:
                return
    finally:
        worlds.close_episode(number)
        worlds.flush()


def _answer(episodes: EpisodeReward, number: int) -> tuple[Said | None, float]:
    """Its next answer and the seconds that it took in all; None where it never comes."""
    limit = time.monotonic() + episodes.turns.episode_seconds
    while time.monotonic() < limit:
        for who, plain, total in episodes.worlds.hear(PATIENCE_SECONDS):
            if who == number:
                return plain, total
    return None, episodes.turns.episode_seconds


def _short(plain: Said | None) -> str:
    """What it said, in a few words."""
    if plain is None:
        return "nothing"
    if "says" in plain:
        return shortened(" ".join(repr(each["content"]) for each in plain["says"]) or "no word", 100)
    return shortened(", ".join(f"{name} {value}" for name, value in plain.items()), 100)


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"
