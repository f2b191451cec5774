"""All that is compared."""

from __future__ import annotations

from case import Case
from cases_openrlhf import openrlhf_cases
from cases_trl import trl_cases
from cases_verl import verl_cases


def cases(longest: int) -> list[Case]:
    """All rows. ``longest``: the draw's width, which some systems divide by."""
    return [*trl_cases(), *verl_cases(longest), *openrlhf_cases()]
