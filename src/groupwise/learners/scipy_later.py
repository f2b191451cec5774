"""This module keeps scipy out of processes that need none of it."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

LOSSES = "transformers.loss"
"""Every model of transformers imports it, and it scipy: 36 MB for one function, of losses of object detectors."""


def import_scipy_later() -> None:
    """Lets that function import scipy when it is called."""
    from transformers import utils

    known: Any = vars(utils).get("is_scipy_available")
    if f"{LOSSES}.loss_utils" in sys.modules or "scipy.optimize" in sys.modules or known is None or not known():
        return
    utils.is_scipy_available = _not_yet  # type: ignore[assignment]
    try:
        import_module(f"{LOSSES}.loss_utils")
    except ImportError:
        return  # another version of transformers, which has its losses elsewhere
    finally:
        utils.is_scipy_available = known
    for name, module in list(sys.modules.items()):
        if name.startswith(f"{LOSSES}.") and vars(module).get("is_scipy_available") is _not_yet:
            vars(module).update(is_scipy_available=known, linear_sum_assignment=_linear_sum_assignment)


def _not_yet() -> bool:
    return False


def _linear_sum_assignment(*given: Any, **options: Any) -> Any:
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(*given, **options)
