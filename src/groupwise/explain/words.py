"""This module says what a method does, in words: it is run on small examples, and the sentences say what came out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from groupwise.algorithm import Algorithm, TeacherGap
from groupwise.explain.numbers import Tokens, compute
from groupwise.explain.worked import alone, scenario
from groupwise.sources import DistinctPaths

LENGTH, LONG, SHORT = 4, 8, 2
NOTHING = 1e-12
Answer = tuple[bool, int, bool]
RIGHT, WRONG = (True, LENGTH, False), (False, LENGTH, False)
NAUGHT = [0.0] * LENGTH
UNTOUCHED = Tokens(NAUGHT, NAUGHT, NAUGHT, NAUGHT, [False] * LENGTH, NAUGHT, NAUGHT, NAUGHT, NAUGHT)


def premises(algorithm: Algorithm) -> str:
    """Says on what small examples the effects were found."""
    if algorithm.objective.joins_group():
        said = f"A pair of answers of {LENGTH} tokens"
    else:
        said = f"Four answers of {LENGTH} tokens, " + ("of a prompt each" if alone(algorithm) else "all of one prompt")
    said += (
        ", every score -1, which is a chance of 0.269. A push is ∂J/∂score."
        if algorithm.trains_scorer
        else ", at the first update of a draw: π_θ = π_old. A push is ∂J/∂log π."
    )
    return " ".join([said, *_suppositions(algorithm)])


def _suppositions(algorithm: Algorithm) -> Iterator[str]:
    needs = algorithm.needs()
    if isinstance(algorithm.advantage, TeacherGap):
        yield "The teacher finds a right answer's tokens twice as likely as the policy does, a wrong one's half."
    elif algorithm.needs_reference:
        yield "The policy is still the reference."
    if "values" in needs:
        yield "The critic expects the share of right answers."
    if "greedy_rewards" in needs:
        yield "The greedy completion has reward 0.5."
    if "step_rewards" in needs:
        yield "Each answer has two steps; those of a right one score 1, of a wrong one 0."
    if isinstance(algorithm.source.selection(), DistinctPaths):
        yield "The right ones differ in their calculations."


def effects(algorithm: Algorithm) -> list[tuple[str, str]]:
    """Yields ``(what is looked at, what happens to it)``, under the ``premises``."""
    if algorithm.objective.joins_group():
        return list(_of_pairs(algorithm))
    return [
        ("a lone right answer", _lone(algorithm, True)),
        ("a lone wrong answer", _lone(algorithm, False)),
        ("all four alike", _equal(algorithm)),
        ("a long answer", _long(algorithm)),
        ("a truncated answer", _truncated(algorithm)),
    ]


def _run(algorithm: Algorithm, answers: Sequence[Answer]) -> list[Tokens]:
    """One for each answer; untouched where the source drops it."""
    chooses = isinstance(algorithm.source.selection(), DistinctPaths)
    kept = [answer for answer in answers if not chooses or (answer[0] and not answer[2])]
    found = iter(compute(algorithm, scenario(kept, algorithm)).responses() if kept else ())
    return [next(found) if answer in kept else UNTOUCHED for answer in answers]


def _lone(algorithm: Algorithm, right: bool) -> str:
    lone, others = (RIGHT, WRONG) if right else (WRONG, RIGHT)
    found = _run(algorithm, [lone, others, others, others])
    kind, other = ("right", "wrong") if right else ("wrong", "right")
    if not algorithm.advantage.judges() and _same(found[:1], found[1:2]):
        return f"is learned like any other, {kind} or {other}: {_pushed(found[0])}."
    judged = f"{_advantage(found[0])}; " if algorithm.advantage.judges() else ""
    said = f"{judged}{_pushed(found[0])}"
    return f"among three {other} ones: {said}. The {other} ones are {_short(found[1])}."


def _equal(algorithm: Algorithm) -> str:
    said = "; ".join(
        f"all {kind}, {_short(_run(algorithm, [answer] * 4)[0])}"
        for answer, kind in ((RIGHT, "right"), (WRONG, "wrong"))
    )
    if words := algorithm.source.without_signal_words():
        said += f"; the source {words}"
    return f"{said}."


def _long(algorithm: Algorithm) -> str:
    """Right ones, short and long, beside wrong ones, short and long."""
    found = _run(algorithm, [(right, length, False) for right in (True, False) for length in (SHORT, LONG)])
    texts = [_compared(kind, *found[at : at + 2]) for kind, at in (("right", 0), ("wrong", 2))]
    return f"of {LONG} tokens beside one of {SHORT}: " + "; ".join(texts) + "."


def _compared(kind: str, short: Tokens, long: Tokens) -> str:
    if not _live(short) and not _live(long):
        return f"if {kind}, both are left alone"
    each = [sum(tokens.coefficients) / len(tokens.coefficients) for tokens in (long, short)]
    total = [sum(tokens.coefficients) for tokens in (long, short)]
    mean = "" if _even(short) and _even(long) else "on average "
    return (
        f"if {kind}, {mean}{_signed(each[0])} a token ({_signed(each[1])} in the short one), "
        f"{_signed(total[0])} in all ({_signed(total[1])})"
    )


def _truncated(algorithm: Algorithm) -> str:
    """Beside two right and two wrong ones, itself one of them."""
    found = []
    for right, rest in ((True, [RIGHT, WRONG, WRONG]), (False, [WRONG, RIGHT, RIGHT])):
        found.append([_run(algorithm, [(right, LENGTH, cut), *rest]) for cut in (False, True)])
    if all(_same(whole, cut) for whole, cut in found):
        judged = "; what it loses, it loses by its reward" if algorithm.advantage.judges() else ""
        return f"is treated like one that ended{judged}."
    said = [
        f"if {kind}, {_short(cut[0])} (had it ended: {_short(whole[0])})"
        for kind, (whole, cut) in zip(("right", "wrong"), found, strict=True)
    ]
    if not all(_same(whole[1:], cut[1:]) for whole, cut in found):
        said.append("the others then count for more")
    return "; ".join(said) + "."


def _of_pairs(algorithm: Algorithm) -> Iterator[tuple[str, str]]:
    chosen, rejected = _run(algorithm, [RIGHT, WRONG])
    long_chosen, short_rejected = _run(algorithm, [(True, LONG, False), (False, SHORT, False)])
    short_chosen, long_rejected = _run(algorithm, [(True, SHORT, False), (False, LONG, False)])
    cut = _run(algorithm, [(True, LENGTH, True), WRONG])
    if algorithm.source.selection() is None:
        among = "the pairs come with the data"
    else:
        among = "of several, the best and the worst make the pair; the others teach nothing, and equal ones make none"
    yield "a lone right answer", f"is the chosen one of its pair: {_pushed(chosen)} ({among})."
    yield "a lone wrong answer", f"is the rejected one: {_pushed(rejected)}."
    yield (
        "a long answer",
        f"of {LONG} tokens against one of {SHORT}: chosen, {_short(long_chosen)} (the short one "
        f"{_short(short_rejected)}); rejected, {_short(long_rejected)} (the short one {_short(short_chosen)}).",
    )
    alike = _same(cut, [chosen, rejected])
    yield "a truncated answer", "is treated like one that ended." if alike else f"is, if chosen, {_short(cut[0])}."


def _pushed(tokens: Tokens) -> str:
    """``each of its 4 tokens is pushed up by 0.0938, 0.375 in all``."""
    values, count = tokens.coefficients, len(tokens.coefficients)
    if not _live(tokens):
        return "none of its tokens is pushed"
    if _last_only(tokens):
        return f"its last token is {_short(tokens).removesuffix(' on its last token')}"
    if not _even(tokens):
        return f"its {count} tokens are {_short(tokens).removesuffix(' a token')}, {_signed(sum(values))} in all"
    direction, each, total = "up" if values[0] > 0 else "down", abs(values[0]), abs(sum(values))
    return f"each of its {count} tokens is pushed {direction} by {digits(each)}, {digits(total)} in all"


def _short(tokens: Tokens) -> str:
    values = tokens.coefficients
    if not _live(tokens):
        return "left alone"
    if _last_only(tokens):
        return f"pushed {'up' if values[-1] > 0 else 'down'} by {digits(abs(values[-1]))} on its last token"
    if min(values) < 0 < max(values):
        return f"pushed by {_signed(min(values))} to {_signed(max(values))} a token"
    sizes = sorted({digits(abs(value)) for value in (min(values), max(values))}, key=float)
    return f"pushed {'up' if max(values) > 0 else 'down'} by {' to '.join(sizes)} a token"


def _advantage(tokens: Tokens) -> str:
    low, high = min(tokens.advantages), max(tokens.advantages)
    return f"advantage {_signed(high)}" if high - low < NOTHING else f"advantages {_signed(low)} to {_signed(high)}"


def digits(value: float) -> str:
    """Writes three digits that matter."""
    return "0" if abs(value) < NOTHING else f"{round(value, 12):.3g}"


def _signed(value: float) -> str:
    return "0" if abs(value) < NOTHING else f"{round(value, 12):+.3g}"


def _live(tokens: Tokens) -> bool:
    return any(abs(value) > NOTHING for value in tokens.coefficients)


def _last_only(tokens: Tokens) -> bool:
    """Says whether the last token alone has a coefficient other than zero."""
    return [abs(value) > NOTHING for value in tokens.coefficients] == [False] * (len(tokens.coefficients) - 1) + [True]


def _even(tokens: Tokens) -> bool:
    return max(tokens.coefficients) - min(tokens.coefficients) < NOTHING


def _same(first: Sequence[Tokens], second: Sequence[Tokens]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(abs(a - b) < NOTHING for x, y in pairs for a, b in zip(x.coefficients, y.coefficients, strict=True))
