"""This module sends files to the hub in one commit."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from groupwise.errors import UserError
from groupwise.output.masking import masked

TOKENS = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN")
MESSAGE = "Upload with groupwise push"


def token() -> str:
    """Returns the token of the environment. Raises UserError where it has none: no file and no option is read."""
    found = next((value for name in TOKENS if (value := os.environ.get(name, "").strip())), "")
    if not found:
        raise UserError(f"no token: set {TOKENS[0]} in the environment to a token of the hub that may write")
    return found


def upload(repo: str, files: Mapping[str, Path | bytes], private: bool) -> str:
    """Makes the repository where there is none, sends the files, and returns its address.

    Raises UserError where the hub refuses, or can't be reached.
    """
    from huggingface_hub import CommitOperationAdd, HfApi, constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    own = token()
    if constants.HF_HUB_OFFLINE:
        raise UserError("HF_HUB_OFFLINE is set, so nothing can be sent; unset it")
    api = HfApi(token=own, library_name="groupwise")
    try:
        address = api.create_repo(repo, private=private or None, exist_ok=True)
        api.create_commit(
            repo,
            [
                CommitOperationAdd(name, content if isinstance(content, bytes) else str(content))
                for name, content in files.items()
            ],
            commit_message=MESSAGE,
        )
    except HFValidationError as error:
        raise UserError(f"{repo}: no name of a repository ({error}); expected OWNER/NAME") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        raise UserError(f"{repo}: the hub refused ({status}): {masked(_reason(status, str(error)), [own])}") from None
    except Exception as error:  # whatever the client in use raises where there is no net
        raise UserError(
            f"{repo}: the hub at {masked(constants.ENDPOINT)} did not take it ({type(error).__name__}: "
            f"{masked(str(error), [own])}); nothing is lost here, try again"
        ) from None
    return str(address)


def _reason(status: int, said: str) -> str:
    known = {
        401: "the token is not valid: make one that may write, and set HF_TOKEN",
        403: "the token may not write there: use one that may, or another OWNER",
        404: "no such owner, or the token may not see it",
    }
    return known.get(status) or " ".join(said.split())[:300]
