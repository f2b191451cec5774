"""Opens what a stage works with, in a run and in a check before one: learner, engine, rewards, renderer, context."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from groupwise.engines.lazy import Lazy
from groupwise.learners.loading import load_tokenizer
from groupwise.learners.reference import check_same_ids
from groupwise.learning.trainable import Trainable
from groupwise.protocols import EngineConfig, Reward, RolloutEngine
from groupwise.rewards.model import Scorers, with_scorers
from groupwise.runs.recipe import Run
from groupwise.seeding import stable_seed
from groupwise.sources import DrawContext
from groupwise.tasks.task import Task
from groupwise.tasks.task_renderer import first_day, read_template_record, renderer_of
from groupwise.tokens.renderer import Renderer
from groupwise.training.stage import Stage, draw_context

Note = Callable[[str], None]
Find = Callable[[str], Path | str]


@dataclass(frozen=True)
class Opener:
    """Opens the models of a recipe."""

    recipe: Run
    find: Find
    """Gives the directory (or hub name) of a model that a recipe names: of a stage, of the run's first model, or its
    own. Raises UserError where a stage has left none."""
    note: Note = lambda text: None
    """Hears what a person should know."""

    def learner(self, stage: Stage, present: Path | str) -> Trainable:
        """Opens what the stage trains, a policy or a scorer, on the model in ``present``."""
        options = self.recipe.learner
        if stage.algorithm.trains_scorer:
            return options.open_scorer(present, stable_seed(self.recipe.seed, stage.name, "head"), self.note)
        return options.open(present, self.note)

    def engine(self, stage: Stage, learner: Trainable, present: Path | str, begun: Path | str) -> RolloutEngine:
        """Opens an engine on the policy in ``present``; for a scorer, when it is first asked, one on the policy in
        ``begun``, whose trunk the scorer began with. It has weights of its own where it samples beside learning."""
        if learner.policy is None:
            return Lazy(learner.context_tokens, lambda: self.engine_on(begun, learner.tokenizer))
        live = learner.policy.live_module()
        if live is not None and stage.algorithm.source.lag():
            live = copy.deepcopy(live).requires_grad_(False)
        options = self.recipe.learner
        return self.recipe.engine.open(
            present, live, learner.tokenizer, self.note, dtype=options.dtype, device=options.device
        )

    def engine_on(self, source: Path | str, ours: Any) -> RolloutEngine:
        """Opens an engine on a policy that nothing trains. Raises UserError where it does not speak the tokens of the
        tokenizer ``ours``."""
        tokenizer, learner = load_tokenizer(source), self.recipe.learner
        check_same_ids(str(source), tokenizer.get_vocab(), ours.get_vocab())
        return self.recipe.engine.open(source, None, tokenizer, self.note, dtype=learner.dtype, device=learner.device)

    def task(self, task: Task, tokenizer: Any) -> Task:
        """Opens its learned rewards, on the models that they name."""
        opened: Callable[[tuple[Reward, ...]], tuple[Reward, ...]] = partial(
            with_scorers,
            directory_of=self.find,
            learner=self.recipe.learner,
            tokenizer=tokenizer,
            scorers=Scorers(),
        )
        return replace(task, rewards=opened(task.rewards), referee=opened(task.referee))

    def context(
        self, stage: Stage, learner: Trainable, engine: RolloutEngine, name: Path | str, record: Mapping[str, Any]
    ) -> DrawContext:
        """Makes what the stage's source draws from; ``name`` is what messages call the model, ``record`` run.json."""
        tokenizer = learner.tokenizer
        renderer = renderer_of(stage.task, tokenizer, str(name), learner.stop_tokens, first_day(record))
        return replace(
            draw_context(stage, renderer, engine, self.recipe.seed),
            on_note=self.note,
            open_policy=lambda model: self.engine_on(self.find(model), tokenizer),
        )


def open_model(
    source: str,
    engine: EngineConfig,
    note: Note,
    device: str,
    dtype: str,
    system: str | None,
    chat: Literal["auto", "always", "never"],
    template_arguments: Mapping[str, Any] | None,
) -> tuple[RolloutEngine, Renderer]:
    """Opens a model by itself, to sample from: an engine on it and its renderer. Raises UserError where there is none.

    A model that a run has left is prompted with the template arguments and the date that it was trained with;
    ``template_arguments`` go before those, argument by argument.
    """
    from groupwise.learners.device import pick_device
    from groupwise.learners.loading import generation_stops, load_policy

    tokenizer = load_tokenizer(source)
    model = load_policy(source, dtype, pick_device(device), tokenizer).requires_grad_(False)
    template_record, today = read_template_record(source)
    return engine.open(source, model, tokenizer, note), Renderer(
        tokenizer,
        system,
        chat,
        name=source,
        eos_tokens=generation_stops(model),
        template_arguments={**template_record, **(template_arguments or {})},
        today=today,
    )
