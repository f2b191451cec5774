"""This module holds the one exception that a client is meant to read."""

from __future__ import annotations

from typing import Any


class Refusal(Exception):  # noqa: N818 - it is an answer
    """This is an error as OpenAI's clients know it: a status, and one line that says what was seen and expected."""

    def __init__(self, status: int, message: str, parameter: str | None = None) -> None:
        super().__init__(" ".join(message.split()))
        self.status, self.parameter = status, parameter

    def as_json(self) -> dict[str, Any]:
        """Returns the body of the answer."""
        kinds = {401: "authentication_error", 429: "rate_limit_error"}
        kind = kinds.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        return {"error": {"message": str(self), "type": kind, "param": self.parameter, "code": None}}
