"""This module answers what the pages ask: one method a question, the fields of the address as its arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from groupwise.errors import UserError
from groupwise.view.about import about
from groupwise.view.comparisons import compared, recipes_apart, shared_prompts
from groupwise.view.curves import CURATED, curves
from groupwise.view.evaluations import evaluations
from groupwise.view.filters import LARGEST_PAGE, Filter, integer
from groupwise.view.groups import MOST_TOKENS, group_of
from groupwise.view.index import LedgerIndex
from groupwise.view.prompts import often_drawn, prompt_over_time
from groupwise.view.run_files import RunFiles
from groupwise.view.search import Search
from groupwise.view.token_pieces import TokenPieces
from groupwise.view.what_if import WhatIf

Fields = Mapping[str, str]
LONGEST_ANSWER = 20_000  # tokens of one completion


@dataclass(frozen=True)
class Answers:
    """These are the runs that are shown, and all that can be asked about them."""

    runs: Sequence[RunFiles]
    explain: WhatIf | None = None
    """None where no other method can be asked for, as in a file."""
    methods: Sequence[tuple[str, str]] = ()
    """Name and first line of every method."""
    indices: Sequence[LedgerIndex] = field(default=())
    searches: Sequence[Search] = field(default=())

    @staticmethod
    def of(runs: Sequence[RunFiles], explain: WhatIf | None = None, methods: Sequence[tuple[str, str]] = ()) -> Answers:
        """Opens what is asked often."""
        indices = [LedgerIndex(run.ledger) for run in runs]
        return Answers(runs, explain, methods, indices, [Search(index) for index in indices])

    def by_name(self) -> dict[str, Callable[[Fields], Any]]:
        """Returns what answers each question, by its name in the address."""
        return {
            "runs": self.all_runs,
            "curves": self.curves_of,
            "choices": self.choices,
            "rollouts": self.rollouts,
            "group": self.group,
            "prompt": self.prompt,
            "examples": self.examples,
            "evaluation": self.evaluation,
            "compare": self.compare,
            "what-if": self.what_if,
        }

    def all_runs(self, fields: Fields) -> Any:
        """Returns what stands above the curves of every run, which metrics come first, and the methods that can be
        asked about."""
        told = [{"name": name, "title": title, "note": note, "better": more} for name, title, note, more in CURATED]
        methods = [{"name": name, "line": line} for name, line in self.methods]
        return {"runs": [about(run) for run in self.runs], "curated": told, "methods": methods}

    def curves_of(self, fields: Fields) -> Any:
        """Returns a run's curves, from the row ``after`` on."""
        run = self.runs[self._number(fields)]
        rows, after = run.rows(), integer(fields, "after") or 0
        return curves(rows, run.record(), after)

    def choices(self, fields: Fields) -> Any:
        """Returns what rollouts can be filtered by: stages, rewards and their statuses, reasons to stop, steps."""
        return self.searches[self._number(fields)].choices()

    def rollouts(self, fields: Fields) -> Any:
        """Returns a page of the rollouts that a filter finds. Raises UserError for a page that is none."""
        offset, limit = integer(fields, "offset") or 0, integer(fields, "limit") or 40
        if offset < 0 or not 0 < limit <= LARGEST_PAGE:
            raise UserError(f"offset is {offset} and limit {limit}; expected 0 or more, and 1 to {LARGEST_PAGE}")
        return self.searches[self._number(fields)].page(Filter.of(fields), offset, limit)

    def group(self, fields: Fields) -> Any:
        """Returns the completions of one prompt in one step, token by token."""
        number, run = self._number(fields), self.runs[self._number(fields)]
        path, stage, step = self._file(number, fields)
        most = min(integer(fields, "tokens") or MOST_TOKENS, LONGEST_ANSWER)
        found = group_of(path, integer(fields, "group") or 0, TokenPieces(run.directory), run.record(), max(1, most))
        return {"stage": stage, "step": step, "steps": self._steps(number, stage), **found}

    def prompt(self, fields: Fields) -> Any:
        """Returns what became of one prompt over the steps that drew it."""
        number = self._number(fields)
        return prompt_over_time(self.indices[number], fields.get("stage", ""), fields.get("example", ""))

    def examples(self, fields: Fields) -> Any:
        """Returns the prompts that were drawn most often, of those whose text is like ``like``."""
        return often_drawn(self.indices[self._number(fields)], fields.get("stage", ""), fields.get("like", "")[:200])

    def evaluation(self, fields: Fields) -> Any:
        """Returns a run's evaluations before and after, problem by problem."""
        return evaluations(self.runs[self._number(fields)].evaluation())

    def compare(self, fields: Fields) -> Any:
        """Returns where two runs' recipes differ, what came of each, and prompts that both have drawn."""
        first, second = self._number(fields, "first"), self._number(fields, "second")
        stages = [fields.get("stage", ""), fields.get("other", "") or fields.get("stage", "")]
        pair = [self.runs[first], self.runs[second]]
        return {
            "recipes": recipes_apart(*pair),
            "runs": compared(pair),
            "stages": [list(self.indices[number].stages) for number in (first, second)],
            "shared": shared_prompts(self.indices[first], self.indices[second], stages),
        }

    def what_if(self, fields: Fields) -> Any:
        """Returns what another method makes of the rollouts of a step. Raises UserError in a page that was exported."""
        if self.explain is None:
            raise UserError("another method can be asked for while the viewer runs: groupwise view RUN")
        number = self._number(fields)
        _, stage, step = self._file(number, fields)
        run = self.runs[number].directory.resolve()
        return self.explain.ask(run, stage, step, fields.get("method", ""), fields.get("options", "")[:2000])

    def _number(self, fields: Fields, name: str = "run") -> int:
        number = integer(fields, name) or 0
        if not 0 <= number < len(self.runs):
            raise UserError(f"{name} is {number}; expected 0 to {len(self.runs) - 1}")
        return number

    def _file(self, number: int, fields: Fields) -> tuple[Path, str, int]:
        """The ledger's file of a stage and step that the index knows, the newest where no step is said."""
        index = self.indices[number]
        stage, step = fields.get("stage", ""), integer(fields, "step")
        with index.lock:
            known = {index.steps[at]: index.files[at] for at in range(len(index.files))}
        own = [one for one in known if one[0] == stage] or ([] if stage else list(known))
        if not own:
            raise UserError(f"no stage {stage[:60]} in this run's ledger yet")
        place = max(own, key=lambda one: one[1]) if step is None else (stage, step)
        if place not in known:
            raise UserError(f"{stage[:60]} has no step {step} in the ledger")
        return known[place], *place

    def _steps(self, number: int, stage: str) -> list[int]:
        index = self.indices[number]
        with index.lock:
            return sorted({step for name, step in index.steps if name == stage})
