"""This module reads what ``groupwise run`` and ``groupwise check`` are asked, of a command line and a file of
options."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace, _AppendAction
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from groupwise.commands.flags import Flag, flags_of, over, refuse_twice, with_place, words_of
from groupwise.commands.option_files import SUFFIXES, read_options
from groupwise.commands.prompt_options import CHAT, stop_strings, task_with, template_arguments
from groupwise.errors import UserError
from groupwise.foreign import CONVERT, refusal

if TYPE_CHECKING:
    from groupwise.runs.recipe import Run

HELP = ("-h", "help", "help_all")
NEVER_IN_A_FILE = ("options", "write_options", "fresh", "dry_run", *HELP)
Parser = Callable[[bool], ArgumentParser]
"""Of a command's own options: with a method (True), or of a recipe file (False)."""


@dataclass(frozen=True)
class Request:
    """A request is one command: what is run, the command's own options, and the flags of the recipe."""

    chosen: Namespace
    """The command's own options, ``recipe`` among them."""
    own: tuple[Flag, ...]
    """Those of them that were given, by line or file."""
    line: tuple[Flag, ...]
    """Of the recipe, from the command line."""
    file: tuple[Flag, ...]
    """Of the recipe, from the file of options."""
    names: tuple[str, ...]
    """All of the command's own options, with dashes."""
    help: str = ""
    """``help`` or ``help_all`` where it was asked for."""

    @property
    def subject(self) -> str:
        """Returns the recipe file or the method."""
        return str(self.chosen.recipe)

    @property
    def is_file(self) -> bool:
        """Says whether a recipe file is run, and no method."""
        return is_recipe_file(self.subject)

    def without(self, names: Container[str]) -> tuple[list[Flag], Request]:
        """The flags of those names, the command line's before the file's, and the request without them."""
        mine, theirs = (tuple(flag for flag in flags if flag.name in names) for flags in (self.line, self.file))
        refuse_twice(mine)
        line, file = (tuple(flag for flag in flags if flag.name not in names) for flags in (self.line, self.file))
        return over(theirs, mine), replace(self, line=line, file=file)

    def tuned(self, recipe: Run, program: str, others: Sequence[str]) -> Run:
        """The recipe with the numbers that are asked for, and its tasks with stop strings and template arguments."""
        from groupwise.commands.options import tune

        said, request = self._template(recipe)
        recipe = tune(recipe, words_of(request.line), program, others, request.file)
        stops = stop_strings(self.chosen.stop)
        stages = tuple(replace(stage, task=task_with(stage.task, said, stops)) for stage in recipe.stages)
        if self.chosen.sink:
            from groupwise.sinks.trackers import by_name

            chosen = dict.fromkeys((*recipe.sinks, *(by_name(name) for name in self.chosen.sink)))
            recipe = replace(recipe, sinks=tuple(chosen))
        return replace(recipe, stages=stages) if said or stops else recipe

    def numbers(self, recipe: Run, others: Sequence[str]) -> list[Flag]:
        """The recipe's options by their full names. Raises UserError as ``options.tune`` does for names."""
        from groupwise.commands.options import Options

        _, request = self._template(recipe)
        settled = Options(recipe).settle(request.line, request.file, others)
        return [Flag(option, flag.values) for option, flag in settled.items()]

    def flags(self, recipe: Run, others: Sequence[str], of_file: Sequence[Flag] = ()) -> list[Flag]:
        """Returns all that was given, for a file of options: what is run, and every option by its full name.
        ``of_file`` are the parameters of a recipe file."""
        _, request = self._template(recipe)
        templates = [flag for flag in over(self.file, self.line) if flag not in (*request.file, *request.line)]
        own = [flag for flag in self.own if flag.name not in NEVER_IN_A_FILE]
        what = Flag("recipe" if self.is_file else "method", (self.subject,))
        return [what, *own, *of_file, *self.numbers(recipe, others), *templates]

    def _template(self, recipe: Run) -> tuple[dict[str, Any], Request]:
        """Returns what templates are given, and the request without it; a stage may be called chat."""
        if any(f"{stage.name}." == CHAT for stage in recipe.stages):
            return {}, self
        of_line, line = template_arguments(self.line)
        of_file, file = template_arguments(self.file)
        return of_file | of_line, replace(self, line=tuple(line), file=tuple(file))


def is_recipe_file(name: str) -> bool:
    """Says whether the name is that of a Python file, and of no method."""
    return name.endswith(".py")


def read_request(arguments: Sequence[str], parser: Parser, usage: str) -> Request:
    """Returns what was asked. Raises UserError where nothing says what is to be run, and for an option that is given
    twice."""
    override = refusal(arguments)
    if override:
        raise UserError(override)
    before, line = flags_of(arguments)
    asked = [flag for flag in line if flag.name in HELP]
    line = [flag for flag in line if flag.name not in HELP]
    if len(before) > 1:
        raise UserError(f"unexpected {before[1]!r} after {before[0]}; expected {usage}")
    if before and before[0].lower().endswith(SUFFIXES):
        line.insert(0, Flag("options", (before.pop(),)))
    subject, file = _from_options(line, before)
    if not subject:
        raise UserError(f"a recipe comes first, and then options such as {arguments[0]}; expected {usage}")
    known = parser(not is_recipe_file(subject))
    repeatable = {action.dest for action in known._actions if isinstance(action, _AppendAction)}
    names = {name.removeprefix("--") for name in known._option_string_actions if name.startswith("--")}
    refuse_twice([flag for flag in line if flag.name in names], repeatable)
    filed = [one for flag in file if flag.name in names for one in _singly(flag, repeatable)]
    own = over(filed, [flag for flag in line if flag.name in names])
    try:
        chosen = known.parse_args([subject, *words_of(own)])
    except UserError as error:
        raise with_place(error, filed) from None
    line, file = ([flag for flag in flags if flag.name not in names] for flags in (line, file))
    wanted = "help_all" if any(flag.name == "help_all" or "all" in flag.values for flag in asked) else "help"
    shown = tuple(f"--{name}" for name in sorted(names))
    return Request(chosen, tuple(own), tuple(line), tuple(file), shown, wanted if asked else "")


def _from_options(line: Sequence[Flag], before: Sequence[str]) -> tuple[str, list[Flag]]:
    """Returns what is run, and the flags of the file that ``--options`` names. The command line's word goes before the
    file's."""
    subject = before[0] if before else ""
    refuse_twice([flag for flag in line if flag.name == "options"])
    given = next((flag for flag in line if flag.name == "options"), None)
    if given is None or len(given.values) != 1:
        return subject, []
    flags = read_options(given.values[0])
    stray = next((flag for flag in flags if flag.name in NEVER_IN_A_FILE), None)
    if stray:
        raise UserError(f"{stray.spelling} belongs on the command line; take it out of the file")
    keys = ("recipe",) if is_recipe_file(subject) else ("recipe", "method")
    said = [flag for flag in flags if flag.name in keys]
    if len(said) > 1:
        raise UserError(f"{said[0].spelling} and {said[1].name} both say what is run; expected one of them")
    if not subject and not (said and len(said[0].values) == 1 and said[0].values[0]):
        raise UserError(
            f'{given.values[0]}: nothing says what is run; expected method = "grpo" or recipe = "FILE.py" in it, or a '
            f"method before --options; {CONVERT}"
        )
    return subject or said[0].values[0], [flag for flag in flags if flag.name not in keys]


def _singly(flag: Flag, repeatable: Container[str]) -> list[Flag]:
    """A list in a file as an option that is repeated. Raises UserError where it cannot be."""
    if flag.name in repeatable:
        return [Flag(flag.name, (value,), flag.place) for value in flag.values]
    if len(flag.values) != 1:
        raise UserError(f"{flag.spelling} is {flag.shown or 'an empty list'}; expected one value")
    return [flag]
