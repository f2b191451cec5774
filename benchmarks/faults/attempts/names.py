"""Names of runs, stages, rewards, tasks and files that are more than names."""

from __future__ import annotations

from functools import partial

from attempts.commands import NEW, Attempt, Place, chat, evaluate, recipe, train

ESCAPE, NEWLINE, TAB, BIDI, NUL = "a\x1b]0;x\x07b", "a\nb", "a\tb", "a\u202eb", "a\0b"
ABOVE, ROOT, LONG, DOTS, EMPTY = "../../evil", "/tmp/groupwise-evil", "x" * 5000, "..", ""
WRONG = {
    "ESC": ESCAPE,
    "a newline": NEWLINE,
    "a tab": TAB,
    "another direction": BIDI,
    "NUL": NUL,
    "the folder above": ABOVE,
    "a whole path": ROOT,
    "five thousand letters": LONG,
    "dots": DOTS,
    "nothing": EMPTY,
    "an option": "--fresh",
    "a surrogate": "a\udc80b",
    "markup": "[red]</p><script>alert(1)</script>",
}


def _recipe(place: Place, command: str, word: str, name: str, *more: str) -> list[str]:
    """A recipe in which a run, a stage or a task has the name."""
    return [command, str(recipe(place, **{word: name})), *more]


def _reward(place: Place, name: str) -> list[str]:
    rewards = f"(gw.as_reward(lambda completion: 1.0, name={name!r}),)"
    method = "gw.recipes.grpo"
    return ["run", str(recipe(place, rewards=rewards, method=method)), "--out", "run", "--dry_run"]


def _raises(place: Place, text: str) -> list[str]:
    """A recipe whose own error holds the text."""
    place.write("recipe.py", f"raise ValueError({text!r})\n")
    return ["run", "recipe.py"]


def _refuses(place: Place, text: str) -> list[str]:
    place.write("recipe.py", f"import groupwise as gw\nraise gw.UserError({text!r})\n")
    return ["run", "recipe.py"]


def _options(place: Place, text: str, name: str = "options.toml") -> list[str]:
    place.write(name, text)
    return train(place, None, "--options", name)


_BAD = "\x1b]0;x\x07\u202e"
KINDS: dict[str, Attempt] = {
    **{f"a run: {what}": partial(_recipe, command="run", word="run", name=name) for what, name in WRONG.items()},
    **{f"a stage: {what}": partial(_recipe, command="run", word="stage", name=name) for what, name in WRONG.items()},
    **{
        f"a stage, checked: {what}": partial(_recipe, command="check", word="stage", name=WRONG[what])
        for what in ("ESC", "another direction", "the folder above")
    },
    **{
        f"a task: {what}": partial(_recipe, command="run", word="task", name=WRONG[what])
        for what in ("ESC", "a newline", "another direction", "markup")
    },
    **{
        f"a reward: {what}": partial(_reward, name=WRONG[what])
        for what in ("ESC", "a newline", "another direction", "markup", "nothing")
    },
    "a directory: ESC": lambda place: train(place, None, "--out", f"run{_BAD}"),
    "a directory: a newline": lambda place: train(place, None, "--out", "run\nx"),
    "a model: ESC": lambda place: chat(f"no{_BAD}"),
    "a model: NUL": lambda place: chat("no\0"),
    "a model: the hub, with dots": lambda place: chat("../../etc"),
    "a model in a recipe: ESC": lambda place: ["run", str(recipe(place, model=repr(f"no{_BAD}")))],
    "a task to evaluate: ESC": lambda place: evaluate(place.whole_model, f"no{_BAD}"),
    "a method: ESC": lambda place: ["run", f"gr{_BAD}po"],
    "a command: ESC": lambda place: [f"ru{_BAD}n"],
    "an option: ESC": lambda place: train(place, None, f"--ste{_BAD}ps", "3"),
    "a value: ESC": lambda place: train(place, None, "--learning_rate", _BAD),
    "a prompt: ESC": lambda place: [*chat(place.whole_model)[:3], f"2{_BAD}", "--max_completion_tokens", "2"],
    "a new project: the folder above": lambda place: ["new", "../x"],
    "a new project: ESC": lambda place: ["new", f"x{_BAD}"],
    "a new project: a whole path": lambda place: ["new", "/tmp/groupwise-evil"],
    "a reward's file: ESC": lambda place: train(place, None, "--reward", f"re{_BAD}.py:score"),
    "a reward's module: ESC": lambda place: train(place, None, "--reward", f"re{_BAD}:score"),
    "a reward's weight: nan": lambda place: train(place, None, "--reward", "answer*nan"),
    "an audit: ESC": lambda place: ["audit", f"re{_BAD}.py:score"],
    "a script: ESC": lambda place: [
        "convert",
        str(place.write("x.py", f"model = '{_BAD}'\nargs = GRPOConfig(beta={_BAD!r})\n")),
    ],
    "a script: another direction": lambda place: [
        "convert",
        str(place.write("x.sh", f"python -m verl.trainer.main_ppo algorithm.{_BAD}=1\n")),
    ],
    "an error of a recipe's": partial(_raises, text=f"x{_BAD}"),
    "a sentence of a recipe's": partial(_refuses, text=f"x{_BAD}\x1b[2J"),
    "a file of options: ESC": partial(_options, text=f'"ste\\u001bps" = 3\n"{_BAD[-1]}" = 4\n'),
    "a file of options: nested": partial(_options, text="a = " + "[" * 5000 + "]" * 5000 + "\n"),
    "a file of options: aliases": partial(
        _options,
        name="options.yaml",
        text="a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
    ),
    "a file of options: a program": partial(
        _options, name="options.yaml", text="a: !!python/object/apply:os.system ['touch MARK']\n"
    ),
    "a name with markup": lambda place: ["run", str(recipe(place, run="x", task="[bold]", model=NEW)), "--out", "run"],
}
