"""Gathered groups come back from the disk as they were, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groupwise.errors import UserError
from groupwise.sources import OfflineGroups
from groupwise.sources.offline_files import groups_in, read, write
from groupwise.types import Example, Group, Prompt, Rollout, Score

EXAMPLE = Example("rows:1", "question", columns={"anything": object()})
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
TOKENS = st.lists(st.integers(0, 200_000), min_size=1, max_size=5).map(tuple)
SCORES = st.builds(Score, st.none() | FLOATS, st.just("scored"), st.dictionaries(st.integers(0, 9), FLOATS, max_size=2))


@st.composite
def rollouts(draw: st.DrawFn, prompt: Prompt) -> Rollout:
    tokens = draw(TOKENS)

    def each(strategy: st.SearchStrategy) -> tuple:
        return tuple(draw(strategy) for _ in tokens)

    return Rollout(
        prompt=prompt,
        tokens=tokens,
        mask=each(st.booleans()),
        behavior_logprobs=each(FLOATS),
        text=draw(st.text(st.characters())),
        finished=draw(st.booleans()),
        version=draw(st.integers(-1, 9)),
        rewards=draw(st.dictionaries(st.integers(0, 9), FLOATS, max_size=2)),
        scores=draw(st.dictionaries(st.text(max_size=5), SCORES, max_size=2)),
        steps=tuple(sorted(draw(st.sets(st.integers(0, 9), max_size=3)))),
        support=draw(st.none() | st.just(tuple((token, 1) for token in tokens))),
        correct=draw(st.none() | st.booleans()),
    )


@st.composite
def groups(draw: st.DrawFn) -> Group:
    prompt = Prompt(EXAMPLE, draw(TOKENS))
    return Group(prompt, tuple(draw(st.lists(rollouts(prompt), max_size=3))), draw(st.none() | FLOATS))


@given(made=st.lists(groups(), max_size=3), metrics=st.dictionaries(st.text(), FLOATS, max_size=2))
def test_what_is_read_is_what_was_written(tmp_path_factory, made: list[Group], metrics: dict[str, float]) -> None:  # type: ignore[no-untyped-def]
    path: Path = tmp_path_factory.mktemp("store") / "new" / "groups.jsonl"
    write(path, OfflineGroups(made, metrics), {EXAMPLE.id: 1}, "me")
    found = read(path, [Example("rows:0", "other"), EXAMPLE], "me")
    assert found == OfflineGroups(made, metrics)
    assert found.groups == made


def test_no_file_is_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "none.jsonl", [], "me") is None


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    """A bit, a line or the end of it: what was sampled is never quietly something else."""
    path, group = tmp_path / "groups.jsonl", Group(Prompt(EXAMPLE, (1, 2)), ())
    write(path, OfflineGroups([group, group], {}), {EXAMPLE.id: 0}, "me")
    whole = path.read_bytes()
    first, *rest = whole.splitlines(keepends=True)
    for harmed in (whole.replace(b"[1, 2]", b"[1, 3]", 1), first + b"".join(rest[1:]), whole[:-70], whole[:-1], b""):
        path.write_bytes(harmed)
        for again in (lambda: read(path, [EXAMPLE], "me"), lambda: groups_in(path, [EXAMPLE])):
            with pytest.raises(UserError, match=r"groups\.jsonl: is damaged"):
                again()
    path.write_bytes(whole)
    assert groups_in(path, [EXAMPLE]) == [group, group]
