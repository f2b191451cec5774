"""This module knows short names of options: any ending of a full name, at its dots, that only one option has.

``--group_size`` is ``--grpo.algorithm.source.group_size``. A first part may stand before the ending, so that
``--grpo.steps`` and ``--grpo.group_size`` choose a stage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from groupwise.errors import UserError

SYNONYMS = {
    "beta": ("objective.coefficient", "kl.coefficient"),
    "lr": ("learning_rate",),
    "lora": ("lora.rank",),
}
"""Names that the field uses for one thing only -> endings, of which the first that a stage has is meant. An option that
is called so itself comes before them. β is the objective's own where it has one (DPO), else the penalty's."""

MISTAKABLE = {
    "alpha": ("lora.alpha", "entropy.coefficient"),
    "clip": ("objective.low", "objective.high", "objective.clip", "critic.clip"),
    "epsilon": ("objective.low", "objective.high", "advantage.epsilon", "whitening.epsilon"),
    "model": ("reference.model",),
    "rate": ("learning_rate", "entropy.rate"),
    "samples": ("source.group_size", "evaluation.samples"),
}
"""Words that the field uses for another thing than the option whose ending they are: never short for one of them."""

NOT_OFFERED = {
    "context": "it divides a micro-batch among several processes; expected --processes N beside it",
    "processes": "expected --processes N",
    "urls": "vLLM servers are the engine of a recipe file: engine=VLLMServers((URL, ...), weights=FOLDER)",
    "dora": "adapters are plain low-rank ones here; --lora.rslora true keeps the rate of learning at a larger rank",
}
"""What is looked for, and why it is not there: options of other systems, and of learners and engines that a run has not
got."""

TOGETHER = ("max_completion_tokens", "temperature", "top_k", "top_p", "min_p")
"""How completions are drawn: a short name means training and evaluation alike, unless evaluation's own is given."""

EVALUATION = "evaluation."


@dataclass(frozen=True)
class OptionNames:
    """The full names of all options of a recipe, without dashes."""

    full: Sequence[str]
    stage: str = ""
    """The name of the only stage, which may stand before its options; where there are several it is part of them."""
    of_run: Sequence[str] = ()
    """First parts of names that are the run's and no stage's."""

    def find(self, name: str) -> list[str]:
        """The full names of what ``name`` sets: one, or sampling's and evaluation's together; none where there is no
        such option. Raises UserError, with the candidates, where it could be several."""
        self._refuse_mistakable(name)
        found = self.candidates(name)
        if name in TOGETHER:
            drawn = [option for option in found if not option.startswith(EVALUATION)]
            if len(drawn) == 1:
                return [*drawn, *(option for option in found if option not in drawn)]
        if len(found) > 1:
            raise UserError(f"--{name} could be {_listed([self.short(option) for option in found])}; say which")
        return found

    def candidates(self, name: str) -> list[str]:
        """The full names of every option that ``name`` could mean."""
        found = self._candidates(name)
        if not found and self.stage and name.startswith(f"{self.stage}."):
            alone = self._candidates(name.removeprefix(f"{self.stage}."))
            return [option for option in alone if option.partition(".")[0] not in self.of_run]
        return found

    def _candidates(self, name: str) -> list[str]:
        if name in self.full:
            return [name]
        found = self._with_ending(name)
        head, _, last = name.rpartition(".")
        if found or last not in SYNONYMS:
            return found
        owners: set[str] = set()
        for ending in SYNONYMS[last]:
            meant = self._with_ending(f"{head}.{ending}".lstrip("."))
            found += [option for option in meant if option.removesuffix(ending) not in owners]
            owners |= {option.removesuffix(ending) for option in meant}
        return found

    def short(self, option: str) -> str:
        """The shortest ending that means this option and no other, or a first part and an ending; else the name."""
        parts = option.split(".")
        endings = [".".join(parts[-count:]) for count in range(1, len(parts))]
        headed = [f"{parts[0]}.{ending}" for ending in endings[:-1]]
        for name in sorted([*endings, *headed], key=lambda name: (name.count("."), name in headed)):
            if self._means(name) == option:
                return name
        return option

    def _means(self, name: str) -> str:
        """The one option that this name sets for itself; empty: none, or several."""
        found = [] if name in MISTAKABLE else self.candidates(name)
        if name in TOGETHER:
            found = [option for option in found if not option.startswith(EVALUATION)] or found
        return found[0] if len(found) == 1 else ""

    def _with_ending(self, name: str) -> list[str]:
        head, _, rest = name.partition(".")
        found = [option for option in self.full if option == name or option.endswith(f".{name}")]
        if found or not rest:
            return found
        return [option for option in self.full if option.startswith(f"{head}.") and option.endswith(f".{rest}")]

    def _refuse_mistakable(self, name: str) -> None:
        could = [option for ending in MISTAKABLE.get(name, ()) for option in self._with_ending(ending)]
        if could:
            raise UserError(f"--{name} could be {_listed([self.short(option) for option in could])}; say which")


def _listed(names: Sequence[str]) -> str:
    dashed = [f"--{name}" for name in names]
    return f"{', '.join(dashed[:-1])} or {dashed[-1]}" if len(dashed) > 1 else dashed[0]
