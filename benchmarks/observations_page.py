"""docs/observations.md, made of what was measured.

python benchmarks/observations_page.py
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("pretraining", "iterative", "quickstart", "critic_memory")

HEAD = """# The observations of DeepSeekMath, one by one

What DeepSeekMath (arXiv 2402.03300) reports, and those who summarise it repeat, each with what became of it here.
Models here have a hundred thousand to a million parameters and their tasks are sums, so that a result says what this
system shows at this size, and nothing of a model of seven billion. **Shown**: the 95 % interval of the paired
difference leaves out 0 and every seed has its sign; **the opposite**: the same with the other sign; **not shown**:
anything else. A toy that shows nothing refutes nothing.

"""
TABLE = """| observation | tested here | how | result |
|---|---|---|---|
"""


def read() -> dict[str, Any]:
    """The numbers that are there, by the name of their file."""
    paths = {name: ROOT / "benchmarks" / f"{name}.json" for name in SOURCES}
    return {name: json.loads(path.read_text()) for name, path in paths.items() if path.exists()}


def page(results: Mapping[str, Any]) -> str:
    """The whole page."""
    return HEAD + "".join(_sections(results))


def _sections(results: Mapping[str, Any]) -> Iterator[str]:
    pretraining, iterative = results.get("pretraining", {}), results["iterative"]
    differences = pretraining.get("differences", {})
    yield "## Data\n\n" + TABLE
    yield from map(_line, _data(differences))
    yield f"\n{_about(pretraining) if pretraining else NOT_RUN}\n\n## Reinforcement learning\n\n" + TABLE
    yield from map(_line, _learning(differences, iterative["seeds"], results))
    yield "\n## Not testable here\n\n| observation | why |\n|---|---|\n"
    yield from (f"| {words} | {why} |\n" for words, why in NOT_HERE)


Row = tuple[str, str, str, str]


def _line(row: Row) -> str:
    return f"| {' | '.join(row)} |\n"


PAIRS = {
    "Pages that a classifier selects teach more mathematics than others": (
        "selected pages against random pages",
        "the same tokens of pages that fastText ranks first, and of pages drawn from the same crawl",
    ),
    "Parameters are not the only factor: a smaller model with better data does better": (
        "selected pages against random pages in a model twice as wide",
        "selected pages in a model of width 64 against random pages in one of width 128",
    ),
    "Formulas have to survive the extraction (OpenWebMath)": (
        "formulas kept against dropped",
        "the same selected pages with formulas as LaTeX and without any, measured on pages with formulas",
    ),
    "Code before mathematics helps mathematics": (
        "code before mathematics against prose before it",
        "programs (MBPP, HumanEval) in the first half of the tokens against history, psychology and philosophy there",
    ),
    "... more than mathematics alone does": (
        "code before mathematics against mathematics alone",
        "the same against selected pages in both halves",
    ),
    "A corpus of English alone is bad for Chinese problems": (
        "a fifth Chinese against English alone",
        "a fifth of the tokens from Chinese word problems (CMATH) against none",
    ),
}


def _data(differences: Mapping[str, Any]) -> Iterator[Row]:
    for words, (pair, how) in PAIRS.items():
        if pair not in differences:
            yield words, "not run", how, "–"
            continue
        numbers = differences[pair]
        chinese = "Chinese" in words
        bits = numbers[f"bits per byte, {'Chinese problems' if chinese else 'mathematics'}"]
        said = [
            f"bits per byte on unseen {'Chinese problems' if chinese else 'mathematics'} {_levels(bits, lower=True)}"
        ]
        if chinese:
            said.append(f"on unseen English mathematics {_levels(numbers['bits per byte, mathematics'], lower=True)}")
        for stage in ("sft", "grpo"):
            said.append(f"pass@1 on sums after {stage.upper()} {_levels(numbers[f'pass@1 after {stage}'])}")
        yield words, "yes", how, "; ".join(said)


def _levels(row: Mapping[str, Any], lower: bool = False) -> str:
    """``4.10 → 3.90, −0.20 [−0.25, −0.15]: shown``; ``lower``: less is better."""
    one, other = row["levels"]
    return f"{one:.3f} → {other:.3f}, {_interval(row)}: **{verdict(row, lower)}**"


def _interval(row: Mapping[str, Any]) -> str:
    return f"{_signed(row['value'])} [{_signed(row['low'])}, {_signed(row['high'])}]"


def _signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def verdict(row: Mapping[str, Any], lower: bool = False) -> str:
    """What an interval and the seeds say."""
    seeds = row.get("seeds", [row["value"]])
    if row["low"] > 0 and min(seeds) > 0:
        return "the opposite" if lower else "shown"
    if row["high"] < 0 and max(seeds) < 0:
        return "shown" if lower else "the opposite"
    return "not shown"


def _learning(differences: Mapping[str, Any], seeds: list[Any], results: Mapping[str, Any]) -> Iterator[Row]:
    yield _domains(differences)
    yield _votes(results["quickstart"]["seeds"])
    for words, ahead, behind in (
        ("Online sampling beats offline (Online RFT, RFT)", "Online RFT", "RFT"),
        ("Rewards of different size beat right and wrong (GRPO, Online RFT)", "GRPO+OS", "Online RFT"),
    ):
        each = [(row["methods"][ahead]["pass@1"], row["methods"][behind]["pass@1"]) for row in seeds]
        yield words, "yes", "[Four ways](iterative.md), the same number of samples", _by_seed(each, ahead, behind)
    yield (
        "Process supervision beats outcome supervision",
        "yes",
        "[Four ways](iterative.md): GRPO+PS minus GRPO+OS with one reward model, paired",
        _paired([row["ahead"]["GRPO+OS"] for row in seeds]),
    )
    first, second = zip(*([each["pass@1"] for each in row["iterations"][1:3]] for row in seeds), strict=True)
    aucs = [[one["held_out"]["value"] for one in row["prm"]] for row in seeds]
    yield (
        "Iterating the reward model helps",
        "yes",
        "[Four ways](iterative.md): the second iteration against the first",
        f"{_by_seed(list(zip(second, first, strict=True)), 'second', 'first')}; AUC of the reward model on new "
        f"questions {fmean(each[0] for each in aucs):.3f} → {fmean(each[1] for each in aucs):.3f}",
    )
    yield _memory(results["critic_memory"]) if "critic_memory" in results else MEMORY_NOT_RUN


def _domains(differences: Mapping[str, Any]) -> Row:
    words, how = "RL on one domain lifts others too", "GRPO on sums of two numbers after SFT on sums of two and three"
    names = [f"GRPO against SFT, all choices, {name}" for name in ("two numbers", "three numbers")]
    if not all(name in differences for name in names):
        return words, "not run", how, "–"
    two, three = (_levels(differences[name]["pass@1"]) for name in names)
    return words, "yes", f"{how}, all choices above", f"pass@1 on two {two}; on three, which RL never saw, {three}"


def _votes(seeds: list[Any]) -> Row:
    both = {name: [seed["comparison"][name]["8"] for seed in seeds] for name in ("maj_at", "pass_at")}
    said = {name: ", ".join(_interval(row) for row in rows) for name, rows in both.items()}
    up = all(row["low"] > 0 for row in both["maj_at"]) and not any(row["low"] > 0 for row in both["pass_at"])
    return (
        "RL raises Maj@K and not Pass@K",
        "yes",
        "the quickstart, three seeds, 100 problems with 32 samples",
        f"Maj@8 {said['maj_at']}; Pass@8 {said['pass_at']}: **{'shown' if up else 'not shown'}**",
    )


def _by_seed(pairs: list[Any], ahead: str, behind: str) -> str:
    """Two methods without a paired interval: shown where their intervals are apart in every seed."""
    words = ", ".join(f"{one['value']:.3f} and {other['value']:.3f}" for one, other in pairs)
    above = all(one["low"] > other["high"] for one, other in pairs)
    below = all(one["high"] < other["low"] for one, other in pairs)
    found = "shown" if above else "the opposite" if below else "not shown"
    apart = "apart in every seed" if above or below else "not apart in every seed"
    return f"pass@1 of {ahead} and {behind} by seed: {words}; intervals {apart}: **{found}**"


def _paired(rows: list[Any]) -> str:
    above, below = all(row["low"] > 0 for row in rows), all(row["high"] < 0 for row in rows)
    found = "shown" if above else "the opposite" if below else "not shown"
    return f"{', '.join(_interval(row) for row in rows)}: **{found}**"


def _memory(found: Mapping[str, Any]) -> Row:
    grpo, ppo = found["grpo"]["peak"], found["ppo"]["peak"]
    return (
        "GRPO needs less memory than PPO",
        "yes",
        f"two steps of each on a new model of {found['grpo']['parameters'] / 1e6:.0f} million parameters",
        f"peak {grpo:,.0f} MB against {ppo:,.0f} MB, {ppo - grpo:,.0f} MB less without the critic: "
        f"**{'shown' if grpo < ppo else 'the opposite'}**",
    )


def _about(found: Mapping[str, Any]) -> str:
    sizes = found["sizes"]
    texts = sizes["texts"]
    right = f"{texts['selected_right']} of the {texts['selected_known']} with a label"
    count = len({row["seed"] for row in found["runs"]})
    return (
        f"`examples/pretraining.py` by `benchmarks/pretraining.py`, {count} seeds: {sizes['tokens']:,} tokens (bytes) "
        f"of pre-training from {sizes['bytes']:,} bytes of each kind of text, then SFT and GRPO on sums. Of the "
        f"selected pages {right} are mathematics. Measured on {texts['unseen']} pages of mathematics and "
        f"{texts['chinese_unseen']} Chinese problems that no choice read. Intervals are over documents and over "
        "problems, of the mean of the seeds; the sums say little of text, which the models read for seconds."
    )


NOT_RUN = (
    "`benchmarks/pretraining.py` (with `examples/pretraining.py`) makes these rows; it has not been run for this page."
)
MEMORY_NOT_RUN = ("GRPO needs less memory than PPO", "not run", "`benchmarks/critic_memory.py`", "–")
NOT_HERE = (
    ("arXiv papers do not help", "there is no permissive collection of papers in the test data"),
    ("120 billion tokens of the corpus go on helping", "a corpus of that size, and weeks of accelerators"),
    ("A 7B model reaches 51.7 % of MATH without tools or votes", "the model and MATH's test questions; with both, "
     "`groupwise evaluate MODEL --task math --prompt deepseekmath --reward deepseekmath` measures it"),
    ("Tools raise MATH (instruct and RL)", "a model that can write programs; with one, `--tools` measures it"),
    ("Chinese benchmarks rise with RL on English questions", "a model that reads both; with one, "
     "`--task gsm8k cmath --in_domain gsm8k --against BEFORE` measures it"),
)  # fmt: skip


def main() -> None:
    (ROOT / "docs" / "observations.md").write_text(page(read()), encoding="utf-8")


if __name__ == "__main__":
    main()
