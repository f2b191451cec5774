"""A recipe's numbers from the command line: tyro reads the dataclasses, one error message speaks of what is unknown."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import field, fields, is_dataclass, make_dataclass, replace
from functools import partial
from typing import Annotated, Any, NoReturn, get_type_hints

import tyro

from groupwise.commands.flags import Flag, flags_of, twice, with_place, words_of
from groupwise.commands.option_names import NOT_OFFERED, OptionNames
from groupwise.commands.option_values import CONFIG, parse_value
from groupwise.commands.recipe_module import without_source
from groupwise.errors import UserError
from groupwise.foreign import explain, refusal
from groupwise.output.counting import counted
from groupwise.runs.recipe import Run
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage

NOT_NUMBERS = ("name", "model", "stages", "sinks")
"""Fields of a run that have no options of their own."""

TunableStage: Any = make_dataclass(
    "TunableStage",
    [("name", Annotated[str, tyro.conf.Suppress]), ("task", Annotated[Task, tyro.conf.Suppress])],
    bases=(Stage,),
    frozen=True,
)
TunableStage.__doc__ = Stage.__doc__


def tune(
    recipe: Run, arguments: Sequence[str], program: str, others: Sequence[str] = (), file: Sequence[Flag] = ()
) -> Run:
    """The recipe with the numbers that ``arguments`` name: ``--grpo.algorithm.kl.coefficient 0.02``, or any ending of
    it that no other option has: ``--kl.coefficient 0.02`` (``groupwise.commands.option_names``).

    ``file``: flags of an options file, which those on the command line go before. Raises UserError for a value that
    does not fit, for a name that several options could mean, for one option twice, and for an option that is not
    there, with the nearest one that is, of the recipe's and of ``others``.
    """
    before, flags = flags_of(arguments)
    if before:
        raise UserError(refusal(arguments) or f"unexpected {before[0]!r}; --help lists the options")
    if not flags and not file:
        return recipe
    options = Options(recipe)
    return options.tuned(options.settle(flags, file, others), program)


class Options:
    """These are all options of a recipe: their names, what they say of themselves, and the recipe that they make."""

    def __init__(self, recipe: Run) -> None:
        self.recipe = recipe
        self._view, self._default = _view(recipe)
        # the one way to tyro's names and words; it is to go, in a major version
        with without_source(), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                parser = tyro.extras.get_parser(self._view, default=self._default, use_underscores=True, config=CONFIG)
            except NameError as error:
                raise UserError(
                    f"a class of the recipe's has a hint that cannot be read ({error}), so there are no options; "
                    "expected names that its file defines or imports, other than under TYPE_CHECKING"
                ) from error
        self.actions: dict[str, Any] = {
            name.removeprefix("--"): action
            for action in parser._actions
            for name in action.option_strings
            if name not in ("-h", "--help")
        }
        stage = recipe.stages[0].name if len(recipe.stages) == 1 else ""
        self.names = OptionNames(list(self.actions), stage, [option.name for option in fields(recipe)])

    def settle(self, line: Sequence[Flag], file: Sequence[Flag], others: Sequence[str] = ()) -> dict[str, Flag]:
        """Says which flag sets each option, by the option's full name: the command line's before the file's."""
        settled: dict[str, Flag] = {}
        outright = {flag.name for flag in (*line, *file)} & set(self.actions)
        for flags in (file, line):
            own: dict[str, Flag] = {}
            for flag in flags:
                for option in self._set_by(flag, outright, others):
                    if option in own:
                        raise twice(own[option], flag)
                    own[option] = flag
            settled |= own
        return settled

    def _set_by(self, flag: Flag, outright: set[str], others: Sequence[str]) -> list[str]:
        """The options that a flag sets. What it sets beside its first gives way to a flag of that option's own."""
        try:
            found = [] if f"--{flag.name}" in others else self.names.find(flag.name)
        except UserError as error:
            raise with_place(error, [flag]) from None
        if not found:
            _refuse_unknown(flag, [f"--{name}" for name in self.actions], others)
        return [option for option in found if option == found[0] or option not in outright]

    def tuned(self, settled: Mapping[str, Flag], program: str) -> Run:
        """The recipe with these options."""
        flags = [Flag(option, self._spelt(option, flag), flag.place) for option, flag in settled.items()]
        try:
            found = self._parsed(flags, program)
        except UserError as error:
            raise with_place(error, flags) from None
        stages = tuple(_tuned_stage(found, stage) for stage in self.recipe.stages)
        names = [option.name for option in fields(self.recipe) if option.name not in NOT_NUMBERS]
        return replace(self.recipe, stages=stages, **{name: getattr(found, name) for name in names})

    def _parsed(self, flags: Sequence[Flag], program: str) -> Any:
        """Returns the view of the recipe with these options. tyro reads these alone: all take it long."""
        places = [tuple(self.actions[flag.name].dest.split(".")) for flag in flags]
        owners = [_within(self._default, path) for *path, _ in places]
        if not all(map(is_dataclass, owners)):
            return parse_value(self._view, self._default, words_of(flags), program)
        with without_source():
            hints = {type(owner): _types(owner) for owner in owners}
        rows: list[Any] = []
        for number, (flag, place, owner) in enumerate(zip(flags, places, owners, strict=True)):
            named: Any = Annotated[hints[type(owner)][place[-1]], tyro.conf.arg(name=flag.name)]
            rows.append((f"option_{number}", named, field(default_factory=partial(getattr, owner, place[-1]))))
        view = make_dataclass("Given", rows, frozen=True)
        found = parse_value(view, view(), words_of(flags), program)
        try:
            return _with(self._default, dict(zip(places, vars(found).values(), strict=True)))
        except ValueError as error:
            given = ", ".join(f"--{flag.name} {flag.shown}" for flag in flags)
            raise UserError(f"{given}: {error}; --help lists the options") from None

    def _spelt(self, option: str, flag: Flag) -> tuple[str, ...]:
        """The values as tyro reads them: truth with a capital. Raises UserError for too few or too many."""
        action = self.actions[option]
        if isinstance(action.nargs, int) and len(flag.values) != action.nargs:
            has = f"is {flag.shown}" if flag.values else "has no value"
            raise UserError(f"{flag.spelling} {has}; expected {_count(action.nargs)}")
        truths = {"true": "True", "false": "False"} if "True" in (action.choices or ()) else {}
        return tuple(truths.get(value.lower(), value) for value in flag.values)


def _within(value: Any, place: Sequence[str]) -> Any:
    """Returns what stands at this place, field after field; None where anything on the way is no dataclass."""
    for name in place:
        value = getattr(value, name) if is_dataclass(value) else None
    return value


def _with(value: Any, changes: Mapping[tuple[str, ...], Any]) -> Any:
    """Returns the dataclass with other values at these places, each part of it made once. Raises what a class raises
    for values that it refuses."""
    own = {place[0]: changed for place, changed in changes.items() if len(place) == 1}
    for name in dict.fromkeys(place[0] for place in changes if len(place) > 1):
        inner = {place[1:]: changed for place, changed in changes.items() if place[0] == name}
        own[name] = _with(getattr(value, name), inner)
    return replace(value, **own)


def _count(values: int) -> str:
    return "one value" if values == 1 else f"{counted(values, 'value')}"


def _view(recipe: Run) -> tuple[type, Any]:
    """A dataclass with a field for each stage, and its value: what tyro turns into options."""
    rows: list[Any] = []
    for stage in recipe.stages:
        name = "" if len(recipe.stages) == 1 else stage.name
        shown: Any = Annotated[TunableStage, tyro.conf.arg(name=name)]
        rows.append((_identifier(stage), shown, field(default=_tunable(stage))))
        # In its own field: a protocol with attributes, such as Source, hides from tyro which class a value has.
        # Of a source that wraps another one the options are those of both, under one name.
        for place, source in enumerate(_sources(stage)):
            shown_source = _unwrapped(source)
            named: Any = Annotated[type(shown_source), tyro.conf.arg(name=f"{name}.algorithm.source".lstrip("."))]
            rows.append((f"{_identifier(stage)}_source_{place}", named, field(default=shown_source)))
    for option in fields(recipe):
        if option.name not in NOT_NUMBERS:
            value = getattr(recipe, option.name)
            rows.append((option.name, type(value), field(default=value)))
    view = make_dataclass("Options", rows, frozen=True)
    view.__doc__ = "The recipe's numbers."
    return view, view()


def _sources(stage: Stage) -> list[Any]:
    """The stage's source, and what it wraps."""
    found = [stage.algorithm.source]
    while (inner := found[-1].wraps()) is not None:
        found.append(inner)
    return found


def _unwrapped(source: Any) -> Any:
    """The source; of one that wraps another its other options alone, since those of a slot are of no one class."""
    if source.wraps() is None:
        return source
    own = [option for option in fields(source) if option.name != "source"]
    kind = make_dataclass(
        type(source).__name__, [(option.name, _types(source)[option.name], option) for option in own], frozen=True
    )
    kind.__doc__ = type(source).__doc__
    return kind(**{option.name: getattr(source, option.name) for option in own})


def _types(source: Any) -> dict[str, Any]:
    """Returns what the options of a value hold, by name."""
    return get_type_hints(type(source), include_extras=True)


def _tunable(stage: Stage) -> Any:
    """Returns a stage without its task, which has no numbers, and of which tyro would look at every row."""
    values = {option.name: getattr(stage, option.name) for option in fields(stage)}
    return TunableStage(**values | {"task": Task(stage.task.name, ())})


def _tuned_stage(tuned: Any, stage: Stage) -> Stage:
    found, sources = getattr(tuned, _identifier(stage)), _sources(stage)
    source: Any = None
    for place, known in reversed(list(enumerate(sources))):
        options = getattr(tuned, f"{_identifier(stage)}_source_{place}")
        source = options if source is None else replace(known, source=source, **vars(options))
    values = {option.name: getattr(found, option.name) for option in fields(stage)}
    algorithm = replace(found.algorithm, source=source)
    return Stage(**values | {"name": stage.name, "algorithm": algorithm, "task": stage.task})


def _identifier(stage: Stage) -> str:
    return "stage_" + "".join(letter if letter.isalnum() else "_" for letter in stage.name)


def _refuse_unknown(flag: Flag, known: Sequence[str], others: Sequence[str]) -> NoReturn:
    """Raises UserError for a name that no option has: why there is none, or the nearest one that is there."""
    word = flag.name.rpartition(".")[2].removeprefix("lora_").removeprefix("use_")
    if word in NOT_OFFERED:
        raise UserError(f"{flag.spelling}: {NOT_OFFERED[word]}")
    every, name = [*known, *others], f"--{flag.name}"
    raise UserError(f"{_said(flag)}{explain([name, *flag.values], every) or _nearest(name, every)}")


def _said(flag: Flag) -> str:
    return f"{flag.place}: unknown option {flag.name}" if flag.place else f"unknown option --{flag.name}"


def _nearest(name: str, known: Sequence[str]) -> str:
    """Returns a known option of the same last word; else the most alike, by the whole and by the last word."""
    last = name.rpartition(".")[2].lstrip("-")
    ends = [option for option in known if option.rpartition(".")[2].lstrip("-") == last]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    words = {option.rpartition(".")[2].lstrip("-"): option for option in reversed(known)}
    alike = difflib.get_close_matches(last, words, n=1, cutoff=0.6)
    best = [*ends, *near, *(words[word] for word in alike), *difflib.get_close_matches(name, known, n=1, cutoff=0.5)]
    return f": perhaps you meant {best[0]}" if best else "; --help lists the options"
