"""This module keeps what a check finds: one sentence each, with its numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from groupwise.errors import UserError

Kind = Literal["problem", "remark", "fact"]
"""Something would break; it works but may not be meant; and what is so."""


@dataclass(frozen=True)
class Finding:
    """A finding is one sentence on one part of one stage."""

    stage: str
    """Empty: the whole run."""
    part: str
    kind: Kind
    words: str
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Returns it as plain values."""
        return asdict(self)


class Notebook:
    """Findings of one stage as they come; a part that cannot be tried is a finding itself."""

    def __init__(self, stage: str, told: Callable[[str], None]) -> None:
        self.stage, self.told = stage, told
        self.findings: list[Finding] = []

    def fact(self, part: str, words: str, **numbers: Any) -> None:
        """Writes down what is so."""
        self.findings.append(Finding(self.stage, part, "fact", words, numbers))

    def remark(self, part: str, words: str, **numbers: Any) -> None:
        """Writes down what works but may not be meant."""
        self.findings.append(Finding(self.stage, part, "remark", words, numbers))

    def problem(self, part: str, words: str, **numbers: Any) -> None:
        """Writes down what would break."""
        self.findings.append(Finding(self.stage, part, "problem", words, numbers))

    def try_part(self, part: str, work: Callable[[], None]) -> bool:
        """Says whether it could be done. What it raises would have stopped the run."""
        self.told(f"{self.stage}: {part}")
        try:
            work()
            return True
        except UserError as error:
            self.problem(part, str(error))
        except Exception as error:  # whatever a reward, a template or a model does, the check goes on
            self.problem(part, f"{type(error).__name__}: {' '.join(str(error).split())}")
        return False
