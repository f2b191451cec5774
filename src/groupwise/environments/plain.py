"""This module takes what an environment says and returns as plain JSON, and says what is wrong with it in words."""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

from groupwise.environments.protocol import Says

Plain = dict[str, Any]
"""``says``: a list of messages; ``ends``: the result; ``failed`` or ``timeout``: why there is none."""

MOST_CHARACTERS = 200_000
"""Of one message; a longer one is cut in its middle before anybody turns it into tokens."""
CUT = "\n[... {count:,} characters left out ...]\n"
RESULT = "a number, None, or a mapping with score or reward"


class WrongWordsError(ValueError):
    """This is raised for something that no environment may say or return."""


def utterance(said: Any) -> list[Plain]:
    """The messages of what was yielded. Raises WrongWordsError."""
    if said is None:
        return []
    if isinstance(said, str | Says):
        return [_message(said)]
    if isinstance(said, Sequence) and not isinstance(said, bytes | bytearray):
        return [_message(each) for each in said]
    raise WrongWordsError(f"said {shortened(said)} ({type(said).__name__}); expected text, Says, several Says or None")


def _message(said: Any) -> Plain:
    if isinstance(said, str):
        return {"role": "user", "content": fitting(str(said))}
    if not isinstance(said, Says) or not isinstance(said.text, str) or not isinstance(said.role, str):
        raise WrongWordsError(f"said {shortened(said)} ({type(said).__name__}); expected text or Says(text)")
    if said.role == "assistant":
        raise WrongWordsError("said something as the assistant, whose turns are the model's; expected another role")
    reward = number(said.reward)
    if reward is None:
        raise WrongWordsError(f"gave the reward {shortened(said.reward)}; expected a finite number")
    named = {"name": fitting(str(said.name))} if said.name is not None else {}
    earned: Plain = {"reward": reward} if reward else {}
    return {"role": fitting(said.role), "content": fitting(said.text), **named, **earned}


def result(returned: Any) -> Plain:
    """The reward (``value``), ``success`` and further numbers (``logged``) of what was returned.

    Raises WrongWordsError."""
    if not isinstance(returned, Mapping):
        return {"value": _value(returned)}
    names = [name for name in ("score", "reward") if name in returned]
    if len(names) > 1:
        raise WrongWordsError("returned a mapping with score and reward; expected one of them")
    rest = {fitting(str(name)): value for name, value in returned.items() if name not in (*names, "success")}
    logged = {name: count for name, value in rest.items() if (count := number(value)) is not None}
    extras = {name: fitting(text) for name, text in rest.items() if name not in logged and isinstance(text, str)}
    success = returned.get("success")
    said = {} if success is None else {"success": _verdict(success)}
    return {"value": _value(returned[names[0]]) if names else None, "logged": logged, "extras": extras, **said}


def _verdict(success: Any) -> bool:
    found = number(success)
    if found not in (0.0, 1.0):  # a text such as "no" would be true
        raise WrongWordsError(f"returned the success {shortened(success)}; expected true or false")
    return bool(found)


def _value(returned: Any) -> float | None:
    if returned is None:
        return None
    value = number(returned)
    if value is None:
        raise WrongWordsError(f"returned {shortened(returned)} ({type(returned).__name__}); expected {RESULT}")
    return value


def number(value: Any) -> float | None:
    """A finite number, fractions, decimals, numpy's and torch's scalars included; None of anything else."""
    count = value.numel() if hasattr(value, "numel") else getattr(value, "size", 1)  # a tensor's size is a method
    if hasattr(value, "item") and count in (1, None) and not isinstance(value, str):
        value = value.item()
    try:
        return float(value) if isinstance(value, Real | Decimal) and math.isfinite(value) else None
    except OverflowError:  # a whole number beyond all floats
        return None


def earned(value: Any, whose: str) -> float:
    """The reward of a step; ``whose`` begins the error. Raises WrongWordsError for what is no number."""
    found = number(value)
    if found is None:
        raise WrongWordsError(
            f"{whose} gave the reward {shortened(value)} ({type(value).__name__}); expected a finite number"
        )
    return found


def fitting(text: str) -> str:
    """The text, its middle left out where it is longer than anybody would read, and what is no character replaced: half
    a surrogate pair, which no tokenizer spells, and U+FDD0, which marks places in prompts."""
    text = str(text).encode("utf-8", "replace").decode().replace("\ufdd0", "\ufffd")
    if len(text) <= MOST_CHARACTERS:
        return text
    half = MOST_CHARACTERS // 2
    return text[:half] + CUT.format(count=len(text) - 2 * half) + text[-half:]


def shortened(value: Any) -> str:
    """Returns its ``repr``, of at most 80 characters."""
    try:
        text = repr(value[:200] if isinstance(value, str | bytes) else value)
    except Exception:  # a user's object may not even be able to show itself
        text = f"<{type(value).__name__}>"
    return text if len(text) <= 80 else f"{text[:50]} ... {text[-20:]}"


def raised(error: BaseException, function: Callable[..., Any] | None = None) -> str:
    """Says what went wrong and where: the innermost frame in the environment's own file, or of all."""
    if isinstance(error, WrongWordsError):
        return str(error)
    if isinstance(error.__cause__, StopIteration):  # a generator's own, which Python says otherwise
        error = error.__cause__
    code = getattr(function, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if code is not None and frame.filename == code.co_filename] or frames
    at = f" at {own[-1].filename}:{own[-1].lineno}" if own else ""
    try:
        words = fitting(" ".join(str(error).split())[:200])
    except Exception:  # a user's exception may not even be able to show itself
        words = "it cannot be shown"
    return f"raised {type(error).__name__}: {words}{at}"
