"""This module says what becomes of sessions that have their reward, and what calls of sessions may ask for that are
trained on."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Protocol

from groupwise.errors import UserError
from groupwise.serving.refusal import Refusal
from groupwise.serving.request import ClientRequest
from groupwise.serving.sessions import Session

Line = dict[str, Any]
"""One sequence of an episode, as docs/serve.md describes it."""


class EpisodeStore(Protocol):
    """This is where episodes go whose reward has come."""

    def write(self, lines: list[Line]) -> None:
        """Takes the sequences of one episode."""
        ...

    def close(self) -> None:
        """Says that no more will come."""
        ...


class EpisodeFile(EpisodeStore):
    """A file that did not exist before, which holds one JSON line a sequence of an episode, each whole at once."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        try:
            self._file = os.fdopen(os.open(path, flags, 0o600), "ab")
        except FileExistsError:
            raise UserError(f"--out {path}: exists already; choose another name, or move it away") from None
        except FileNotFoundError:
            raise UserError(f"--out {path}: no such directory; make it first") from None

    def write(self, lines: list[dict[str, Any]]) -> None:
        """Adds the lines of one episode."""
        self._file.write("".join(json.dumps(line) + "\n" for line in lines).encode())
        self._file.flush()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        """Closes the file; nothing can be written any more."""
        self._file.close()


@dataclass
class EpisodeMemory(EpisodeStore):
    """Episodes of this process, by the name of their session."""

    episodes: dict[str, list[Line]] = field(default_factory=dict)

    def write(self, lines: list[Line]) -> None:
        """Takes the sequences of one episode."""
        self.episodes[lines[0]["session"]] = lines

    def close(self) -> None:
        """Changes nothing: the episodes stay to be read."""


@dataclass(frozen=True)
class EpisodeRules:
    """These rules hold for sessions that a policy learns from: what is drawn is the policy itself, and bounded."""

    temperature: Annotated[float, "(0, inf)"]
    tokens: Annotated[int, "[1, inf)"]
    """That a session may sample in all of its calls."""

    def applied(self, asked: ClientRequest, session: Session | None) -> ClientRequest:
        """Returns what is drawn in place of what a client asks. Raises Refusal for a call without a session, and for
        one of a session that has no tokens left."""
        if session is None:
            raise Refusal(400, "every call belongs to a session here: use the address that the program was given")
        left = (self.tokens - session.sampled) // asked.choices
        if left <= 0:
            session.is_used_up = True
            raise Refusal(400, f"the episode has sampled {session.sampled} of its {self.tokens} tokens: it is over")
        most = min(left, asked.max_tokens or left)
        other: dict[str, Any] = {"temperature": self.temperature, "top_p": 1.0, "seed": None}
        unheard = tuple(name for name, value in other.items() if getattr(asked, name) != value)
        return replace(asked, max_tokens=most, ignored=(*asked.ignored, *unheard), **other)
