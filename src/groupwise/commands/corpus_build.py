"""This is ``groupwise corpus build``: a web crawl becomes a training corpus."""

from __future__ import annotations

import fcntl
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.commands.flags import flags_of, words_of
from groupwise.commands.parser import parser
from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.corpus.settings import Corpus

EXAMPLES = """  groupwise corpus build --crawl crawl/ --seed seed.txt --out corpus
  groupwise corpus build --crawl crawl/ --seed seed.txt --against gsm8k cmath --out corpus --executor local:16
  groupwise corpus build openwebmath --crawl crawl/ --seed seed.txt --out corpus --recall.share 0.2
  groupwise corpus build own.py --config corpus.toml"""
EXECUTORS = "local:N (default), ray:N, ray:ADDRESS, slurm:PARTITION:N"
NUMBERS = "any number of a stage: --recall.share 0.2, --extract.seconds 10"


def execute(arguments: Sequence[str]) -> int:
    """Makes what is missing of a corpus, and says where it is."""
    chosen, corpus = read(arguments)
    from groupwise.corpus.engine import Executor, begin_early

    executor = Executor.named(chosen.executor)
    begin_early(executor)
    from groupwise.corpus.annotations import read_annotations
    from groupwise.corpus.build import Build
    from groupwise.corpus.inputs import find_archives, refuse_missing_packages, refuse_other_inputs
    from groupwise.corpus.seeds import read_seed
    from groupwise.storage.atomic import full_disk_named

    refuse_missing_packages(executor.kind)
    archives = find_archives(chosen.crawl)
    seed = read_seed(chosen.seed)
    out = Path(chosen.out).expanduser()
    written = Path(chosen.annotations) if chosen.annotations else out / "annotations.toml"
    if chosen.annotations and not written.exists():
        raise UserError(f"--annotations {written}: no such file; groupwise corpus domains {out} writes one to fill in")
    annotations = read_annotations(written, chosen.annotate)
    with full_disk_named(out), _alone(out):
        refuse_other_inputs(out, archives, seed, corpus, chosen.rebuild)
        build = Build(out, corpus, archives, seed, annotations, executor, lambda line: print(visible(line), flush=True))
        manifest = build.run()
    kept = manifest["counts"]["decontaminate"]["kept"]
    print(visible(f"{out / 'corpus'}: {kept:,} pages in {len(manifest['files'])} files; groupwise corpus look {out}"))
    if not annotations.answered:
        print(
            visible(
                f"no domain is annotated: groupwise corpus domains {out} lists them, and the rounds go on with answers"
            )
        )
    return 0


def read(arguments: Sequence[str]) -> tuple[Namespace, Corpus]:
    """The options, and the corpus that they make: a preset or a recipe's, with the numbers that are given."""
    words = _with_file(arguments)
    known = _parser()
    before, flags = flags_of(words)
    truths = {"true": "True", "false": "False"}
    numbers = [flag for flag in flags if "." in flag.name]
    rest = words_of(replace(flag, values=tuple(truths.get(each, each) for each in flag.values)) for flag in numbers)
    chosen = known.parse_args([*before, *words_of(flag for flag in flags if "." not in flag.name)])
    from groupwise.commands.option_values import parse_value
    from groupwise.config.ranges import refuse_options
    from groupwise.corpus import settings

    for name in ("crawl", "seed", "out"):
        if not vars(chosen)[name]:
            raise UserError(f"--{name} is missing; groupwise corpus build --help tells what it is")
    corpus = _recipe(chosen.recipe, settings)
    corpus = parse_value(type(corpus), corpus, rest, "groupwise corpus build") if rest else corpus
    rule = replace(
        corpus.decontaminate,
        against=(*corpus.decontaminate.against, *chosen.against),
        benchmarks=chosen.benchmarks or corpus.decontaminate.benchmarks,
    )
    corpus = replace(corpus, decontaminate=rule)
    refuse_options(corpus, "--")
    return chosen, corpus


def _with_file(arguments: Sequence[str]) -> list[str]:
    """The words, after those of an options file that they do not set themselves."""
    before, flags = flags_of(arguments)
    files = [flag for flag in flags if flag.name == "config"]
    if not files or not files[0].values:
        return list(arguments)
    from groupwise.commands.option_files import read_options

    own = {flag.name for flag in flags}
    found = [flag for flag in read_options(files[0].values[0]) if flag.name not in own]
    named = [flag.values[0] for flag in found if flag.name in ("preset", "recipe")]
    rest = [flag for flag in found if flag.name not in ("preset", "recipe")]
    return [*(before or named), *words_of(rest), *words_of(flag for flag in flags if flag.name != "config")]


def _parser() -> ArgumentParser:
    summary = (
        "Makes a training corpus of a web crawl, as DeepSeekMath did: text with its formulas, no copies, pages chosen\n"
        "in rounds by a classifier, no benchmark questions. The same command goes on where it was ended."
    )
    usage = "groupwise corpus build [PRESET|RECIPE.py] --crawl PATH ... --seed FILE ... --out DIR [options]"
    known = parser("corpus build", summary, EXAMPLES, usage)
    known.add_argument(
        "recipe",
        nargs="?",
        default="deepseekmath",
        metavar="PRESET|RECIPE.py",
        help="deepseekmath (default), deepseekmath_fasttext, deepseekmath_published, openwebmath, or a file with "
        "corpus = Corpus(...)",
    )
    known.add_argument("--crawl", metavar="PATH", nargs="+", help="WARC files, or folders of them")
    known.add_argument(
        "--seed",
        metavar="FILE",
        nargs="+",
        help="what is wanted: .txt with an address a line (ADDRESS/* for all below), or rows with text",
    )
    known.add_argument("--out", metavar="DIR", help="where everything is written")
    known.add_argument("--annotations", metavar="FILE", help="what a person says of prefixes (DIR/annotations.toml)")
    known.add_argument(
        "--annotate", metavar="PREFIX", nargs="+", default=[], help="PREFIX or PREFIX=other, as if there"
    )
    known.add_argument(
        "--against", metavar="NAME", nargs="+", default=[], help="benchmarks to keep out: NAME, FILE, NAME=FILE"
    )
    known.add_argument("--benchmarks", metavar="DIR", help="a folder that holds NAME/test.jsonl (else: the hub)")
    known.add_argument("--executor", metavar="KIND", default="local", help=EXECUTORS)
    known.add_argument("--rebuild", action="store_true", help="make anew what other inputs or settings touch")
    known.add_argument("--config", metavar="FILE", help="options from a TOML or YAML file")
    known.add_argument("--STAGE.NAME", metavar="VALUE", dest="_", help=NUMBERS)
    return known


def _recipe(name: str, settings: Any) -> Corpus:
    if name in settings.PRESETS:
        found: Corpus = settings.PRESETS[name]
        return found
    if name.endswith(".py"):
        from groupwise.commands.recipe_file import errors_in
        from groupwise.commands.recipe_module import namespace_of

        if not Path(name).is_file():
            raise UserError(f"{name}: no such recipe file; expected a Python file that defines corpus = Corpus(...)")
        with errors_in(Path(name)):
            made = namespace_of(name).get("corpus")
        if not isinstance(made, settings.Corpus):
            raise UserError(f"{name}: defines no corpus = Corpus(...); see groupwise.corpus.settings")
        return made
    import difflib

    near = difflib.get_close_matches(name, settings.PRESETS, n=1)
    hint = (
        f"perhaps you meant {near[0]}"
        if near
        else f"there are {', '.join(settings.PRESETS)}, or a file that ends in .py"
    )
    raise UserError(f"unknown preset {name}: {hint}")


@contextmanager
def _alone(out: Path) -> Iterator[None]:
    """Raises UserError where another command works on this directory, or it cannot be made."""
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file; expected a directory")
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = (out / ".lock").open("w")
    except OSError as error:
        raise UserError(f"--out {out}: can't be written: {error.strerror or error}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{out}: another groupwise corpus build works here; wait for it, or choose another --out"
            ) from None
        yield
