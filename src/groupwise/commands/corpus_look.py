"""This is ``groupwise corpus look``: it shows what was kept and what was dropped, and why, page by page."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groupwise.commands.parser import parser
from groupwise.config.ranges import refuse_number
from groupwise.errors import UserError
from groupwise.output.printable import visible

if TYPE_CHECKING:
    from groupwise.corpus.looking import Choice

EXAMPLES = """  groupwise corpus look corpus                              # counts, and some pages of all kinds
  groupwise corpus look corpus --reason "near copy" --show 20
  groupwise corpus look corpus --kept --score 0.4 0.6 --letters 1000
  groupwise corpus look corpus --url openstax.org/books/us-history --html seen.html"""


def execute(arguments: Sequence[str]) -> int:
    """Prints the counts and some of the pages, or writes them into one HTML file."""
    chosen = _parser().parse_args(arguments)
    for name in ("show", "letters"):
        refuse_number(f"--{name}", vars(chosen)[name], "[0, inf)", whole=True)
    from groupwise.corpus.inputs import refuse_no_corpus
    from groupwise.corpus.looking import Choice, as_html, counts, pages, sample, with_texts
    from groupwise.storage.named_file import write_named

    out = Path(chosen.directory).expanduser()
    refuse_no_corpus(out)
    if chosen.kept and chosen.dropped:
        raise UserError("--kept and --dropped: expected one of them; without, both are shown")
    every = counts(out)
    choice = Choice(chosen.stage, chosen.reason, chosen.url, tuple(chosen.score), chosen.kept, chosen.dropped)
    _refuse_unknown(choice, every)
    print(visible("\n".join(f"{count:>9,}  {stage:<13} {reason}".rstrip() for stage, reason, count in every)))
    found, count = sample(pages(out, choice), chosen.show, chosen.seed)
    found = with_texts(out, found)
    if chosen.html:
        path = Path(chosen.html)
        write_named(path, as_html(f"{len(found):,} of {count:,} pages of {out}", found))
        print(visible(f"{path}: {len(found):,} of {count:,} pages"))
        return 0
    print(visible("\n" + "\n".join(line for page in found for line in lines_of(page, chosen.letters))))
    print(visible(f"{len(found):,} of {count:,} pages; --seed {chosen.seed + 1} shows others"))
    return 0


def lines_of(page: dict[str, Any], letters: int) -> list[str]:
    """Returns the lines of a page in the terminal."""
    why = ": ".join(each for each in (page["stage"], page["reason"], page["evidence"]) if each)
    score = f", score {page['score']:.3f}" if page["stage"] == "kept" else ""
    text = " ".join((page["text"] or "").split())
    shown = text if len(text) <= letters else f"{text[: max(letters - 3, 0)]}..."
    return [page["url"] or page["id"], f"  {why}{score}", *([f"  {shown}"] if shown else []), ""]


def _refuse_unknown(choice: Choice, every: Sequence[tuple[str, str, int]]) -> None:
    stages = list(dict.fromkeys(stage for stage, _, _ in every))
    reasons = list(dict.fromkeys(reason for _, reason, _ in every if reason))
    if choice.stage and choice.stage not in stages:
        raise UserError(f"--stage {choice.stage}: there are {', '.join(stages)}")
    if choice.reason and choice.reason not in reasons:
        raise UserError(f"--reason {choice.reason}: there are {', '.join(reasons) or 'none'}")


def _parser() -> ArgumentParser:
    summary = "Shows how many pages were kept and dropped, by stage and reason, and some of them with the evidence."
    known = parser("corpus look", summary, EXAMPLES, "groupwise corpus look DIR [options]")
    known.add_argument("directory", metavar="DIR", help="--out of groupwise corpus build")
    known.add_argument(
        "--stage", metavar="NAME", default="", help="of this stage: kept, read, extract, quality, unique ..."
    )
    known.add_argument("--reason", metavar="NAME", default="", help="dropped for this reason")
    known.add_argument("--url", metavar="PART", default="", help="whose address holds this")
    known.add_argument(
        "--score", type=float, nargs=2, metavar=("LEAST", "MOST"), default=(0.0, 1.0), help="in this band"
    )
    known.add_argument("--kept", action="store_true", help="kept ones alone")
    known.add_argument("--dropped", action="store_true", help="dropped ones alone")
    known.add_argument("--show", type=int, metavar="N", default=10, help="pages to show (10)")
    known.add_argument("--letters", type=int, metavar="N", default=300, help="of each page's text (300)")
    known.add_argument("--seed", type=int, metavar="N", default=0, help="draws others (0)")
    known.add_argument("--html", metavar="FILE", help="write them, with their whole texts, into one HTML file")
    return known
