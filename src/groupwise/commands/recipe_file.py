"""This module reads a recipe file: ``run = Run(...)``, or a function ``run(model=..., ...) -> Run`` whose parameters
are options."""

from __future__ import annotations

import inspect
import sys
import traceback
import typing
from argparse import SUPPRESS, ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any

import groupwise
from groupwise.commands.recipe_module import namespace_of
from groupwise.errors import UserError
from groupwise.foreign import trains_elsewhere
from groupwise.output.printable import visible
from groupwise.runs.recipe import Run

OURS = Path(groupwise.__file__).parent.resolve()
KINDS = (str, int, float, bool, Path)


@dataclass(frozen=True)
class RecipeFile:
    """A file that was read. ``defined`` is what it calls ``run``."""

    path: Path
    about: str
    """Its docstring."""
    defined: Run | Callable[..., Run]
    parser: ArgumentParser
    """Of the function's parameters; without options where ``run`` is a value."""

    @property
    def options(self) -> list[str]:
        """Returns the options of the function's parameters: ``--model`` and so on."""
        return [f"--{name}" for name in self._parameters]

    def make(self, arguments: Sequence[str]) -> Run:
        """The run, of its function's parameters. Raises UserError where one is missing."""
        if isinstance(self.defined, Run):
            return self.defined
        given = vars(self.parser.parse_args(list(arguments)))
        for name, parameter in self._parameters.items():
            if name not in given and parameter.default is parameter.empty:
                raise UserError(f"--{name} is missing; {self.path} needs it")
        with errors_in(self.path):
            made = self.defined(**given)
        if not isinstance(made, Run):
            raise UserError(f"{self.path}: its function run returned {type(made).__name__}; expected a Run")
        return made

    def explain(self) -> None:
        """Prints what the file says of itself, and its parameters."""
        print(visible(self.about.strip()), end="\n\n")
        if self._parameters:
            print("its own options:")
            for action in self.parser._actions:
                if action.dest in self._parameters:
                    print(visible(f"  {' '.join((*action.option_strings, str(action.metavar))):<24} {action.help}"))
            print()

    @property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        return {} if isinstance(self.defined, Run) else dict(inspect.signature(self.defined).parameters)


def read(path: Path, taken: Sequence[str], new_parser: Callable[[], ArgumentParser]) -> RecipeFile:
    """Runs the file. ``taken``: options that a parameter cannot be. Raises UserError where it defines no run."""
    if not path.is_file():
        raise UserError(f"{path}: no such recipe file; expected a Python file that defines run = Run(...)")
    if trains_elsewhere(path.read_text(encoding="utf-8", errors="replace")):
        raise UserError(
            f"{path}: a script of another system, which is not run; groupwise convert {path} makes a recipe"
        )
    sys.path.insert(0, str(path.parent.resolve()))
    with errors_in(path):
        namespace = namespace_of(path)
    defined = namespace.get("run")
    parser = new_parser()
    if inspect.isfunction(defined):
        for parameter in inspect.signature(defined).parameters.values():
            _add(parser, parameter, typing.get_type_hints(defined).get(parameter.name), path, taken)
    elif not isinstance(defined, Run):
        raise UserError(
            f"{path}: defines neither run = Run(...) nor a function run; see examples/quickstart.py for one"
        )
    return RecipeFile(path, namespace.get("__doc__") or "", defined, parser)


@contextmanager
def errors_in(path: Path) -> Iterator[None]:
    """An error of the user's own code becomes a UserError that names its lines alone, not ours or Python's."""
    try:
        yield
    except UserError:
        raise
    except SyntaxError as error:
        where = f"{error.filename or path}:{error.lineno}"
        raise UserError(f"{where}: {error.msg}: {(error.text or '').strip()}") from error
    except (Exception, SystemExit) as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise UserError(f"{_place(error, path)}: {said}") from error


def _place(error: BaseException, path: Path) -> str:
    """Writes ``recipe.py:7 (x = 1 / 0), called at recipe.py:12 (run = made())``, of the lines in the recipe's own
    folder."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _named(frame.filename, path)] or frames[-1:]
    return ", called at ".join(
        f"{_named(frame.filename, path) or frame.filename}:{frame.lineno} ({frame.line})" for frame in reversed(own)
    )


def _named(filename: str, path: Path) -> str:
    """A file beside the recipe, or below it, as the recipe's path was given; empty: it is another's."""
    folder, found = path.parent.resolve(), Path(filename).resolve()
    if (
        not found.is_file()
        or not found.is_relative_to(folder)
        or "site-packages" in found.parts
        or found.is_relative_to(OURS)
    ):
        return ""
    return str(path.parent / found.relative_to(folder))


def _add(parser: ArgumentParser, parameter: inspect.Parameter, hint: Any, path: Path, taken: Sequence[str]) -> None:
    """Makes one parameter an option. What is not given stays out, so that the function's own default holds."""
    option, default = f"--{parameter.name}", parameter.default
    members = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, UnionType) else (hint,)
    kinds = [kind for kind in members if kind is not NoneType]
    if option in taken:
        raise UserError(f"{path}: {option} is an option of groupwise run itself; rename run's parameter")
    if len(kinds) != 1 or kinds[0] not in KINDS or parameter.kind is not parameter.POSITIONAL_OR_KEYWORD:
        names = ", ".join(kind.__name__ for kind in KINDS)
        raise UserError(f"{path}: run's parameter {parameter.name} can't be an option; give it one type of {names}")
    text = "needed" if default is parameter.empty else f"default: {default!r}"
    convert = _truth if kinds[0] is bool else kinds[0]
    parser.add_argument(option, type=convert, default=SUPPRESS, metavar=kinds[0].__name__.upper(), help=text)


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ArgumentTypeError(f"invalid truth value: {text!r} (expected true or false)")
    return text.lower() == "true"
