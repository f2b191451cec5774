"""This module asks the hub once and quickly: whether it has what a name says, before a library tries for a minute to
fetch it."""

from __future__ import annotations

import glob
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from groupwise.errors import UserError
from groupwise.output.printable import visible

SECONDS = 10.0
"""In which the hub answers, or counts as out of reach."""
Kind = Literal["models", "datasets"]
FILES: dict[Kind, str] = {"models": "config.json", "datasets": "README.md"}


@cache
def answers(name: str, kind: Kind) -> bool:
    """Says whether the hub says that it has ``name``; False: it can't be reached, and what was fetched earlier is here.

    Says on standard error that it is being asked. Raises UserError where there is no such name, and where it can't be
    reached and nothing is here.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import build_hf_headers, get_session

    one = kind.removesuffix("s")
    try:
        kept = _is_kept(name, kind)
    except HFValidationError:
        raise UserError(f"{name}: {_no_path(one)}, and no name that the hub could have; check the path") from None
    if constants.HF_HUB_OFFLINE:
        return _fetched_before(name, one, kept, "HF_HUB_OFFLINE is set")
    print(visible(f"asking the hub for {name}"), file=sys.stderr)
    try:
        address = f"{constants.ENDPOINT}/api/{kind}/{name}"
        status = get_session().get(address, headers=build_hf_headers(), timeout=SECONDS).status_code
    except Exception as error:  # whatever the client in use raises where there is no net
        return _fetched_before(name, one, kept, f"the hub can't be reached ({type(error).__name__})")
    if status in (401, 403, 404):
        raise UserError(
            f"{name}: {_no_path(one)}, and the hub has no {one} of that name for you ({status}); check the path or "
            "the name, and log in (hf auth login) where it is private or gated"
        )
    return status < 500 or _fetched_before(name, one, kept, f"the hub is out of order ({status})")


@contextmanager
def unreachable() -> Iterator[None]:
    """Makes the hub's libraries take what was fetched earlier, and try no connection, each for a minute."""
    from huggingface_hub import constants

    modules: list[Any] = [constants]
    if find_spec("datasets"):
        from datasets import config

        modules.append(config)
    before = [module.HF_HUB_OFFLINE for module in modules]
    for module in modules:
        module.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            module.HF_HUB_OFFLINE = was


def _is_kept(name: str, kind: Kind) -> bool:
    """Says whether some of it was fetched earlier; a data set may stand ready to read, without its files."""
    from huggingface_hub import try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, FILES[kind], repo_type=kind.removesuffix("s")), str):
        return True
    if kind == "models" or not find_spec("datasets"):
        return False
    from datasets import config
    from datasets.naming import camelcase_to_snakecase

    owner, _, last = name.rpartition("/")
    folder = glob.escape("___".join(filter(None, (owner, camelcase_to_snakecase(last)))))
    return any(Path(config.HF_DATASETS_CACHE).expanduser().glob(f"{folder}/*/*/*"))


def _fetched_before(name: str, one: str, kept: bool, why: str) -> bool:
    """False. Raises UserError where nothing of it is here."""
    if kept:
        return False
    wanted = "a file" if one == "dataset" else "a model"
    raise UserError(f"{name}: {_no_path(one)}, and {why}; give the path of {wanted}, or try again with a connection")


def _no_path(one: str) -> str:
    return "no file here" if one == "dataset" else "no directory here"
