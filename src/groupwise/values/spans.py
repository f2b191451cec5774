"""This module says which weights drew which tokens of a completion."""

from __future__ import annotations

Span = tuple[int, int]
"""``(version, end)``: the tokens up to the place ``end`` that no earlier span has were drawn by these weights."""


def check_spans(versions: tuple[Span, ...], version: int, length: int) -> None:
    """Raises ValueError for spans that do not cover so many tokens in order, or whose oldest is not ``version``."""
    if not versions:
        return
    ends = [end for _, end in versions]
    oldest = min(version for version, _ in versions)
    in_order = all(before < end for before, end in zip([0, *ends], ends, strict=False)) or ends == [0]
    if not in_order or ends[-1] != length or oldest != version:
        raise ValueError(
            f"versions {versions} of {length} tokens with version {version}; expected (version, end) in order up to "
            "the last token, and the oldest as version"
        )
    if oldest < 0 and len(versions) > 1:
        raise ValueError(f"versions {versions}: what no version of the learner has drawn is a whole completion")
