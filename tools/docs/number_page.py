"""This script writes docs/numbers.md: every number that the pages claim, from the file that holds it, with the command
that makes it and the pages where it stands.

    python tools/docs/number_page.py
"""

from __future__ import annotations

import json
import re
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PAGE, FOLDER = ROOT / "docs" / "numbers.md", ROOT / "benchmarks"
Found = dict[str, Any]


@dataclass(frozen=True)
class Claim:
    """What is claimed, in words, with the numbers put in from a file of benchmarks."""

    file: str
    words: Callable[[Found], str]
    command: str = ""
    """Where it is not ``python benchmarks/FILE.py``."""
    page: str = ""
    """Where the numbers stand, if the page does not name the file."""


def _percent(measure: dict[str, float]) -> str:
    return f"{measure['value']:.3f} [{measure['low']:.3f}, {measure['high']:.3f}]"


def _quickstart(found: Found) -> str:
    seeds = [f"{_percent(seed['sft']['pass@1'])} → {_percent(seed['grpo']['pass@1'])}" for seed in found["seeds"]]
    seconds = [seed["seconds"] for seed in found["seeds"]]
    return f"the quickstart, {min(seconds):.0f} to {max(seconds):.0f} seconds; pass@1 {'; '.join(seeds)}"


def _cpu(found: Found) -> str:
    table = [case for case in found["cases"] if case["case"].split()[0] in ("S", "M")]
    ratios = [_median(case, "trl") / _median(case, "ours") for case in table]
    mean = statistics.geometric_mean(ratios)
    return f"a step against TRL tuned, {len(ratios)} cases: {min(ratios):.1f} to {max(ratios):.1f}, mean {mean:.1f}"


def _median(case: Found, side: str, key: str = "seconds") -> float:
    """Over the steps with the thread count that is faster."""
    by_count: dict[int, list[Found]] = {}
    for step in case["sides"][side]["steps"]:
        by_count.setdefault(step["threads"], []).append(step)
    best = min(by_count.values(), key=lambda steps: statistics.median(step["seconds"] for step in steps))
    return statistics.median(step[key] for step in best)


def _parity(found: Found) -> str:
    same = sum(row["verdict"] == "same" for row in found["rows"])
    rows, to = len(found["rows"]), f"{found['tolerance']:g}"
    return (
        f"{same} of {rows} losses and gradients equal those of TRL, verl and OpenRLHF to {to}, and {rows - same} "
        "differ in a way that is explained"
    )


def _faults(found: Found) -> str:
    faults = found["faults"]
    kills = faults["kills"]["kills"] + faults["turns"]["kills"]
    files = sum(part["files_compared"] for part in faults.values() if "files_compared" in part)
    harmed = faults["checkpoints"]["checkpoint_files_harmed"]
    return (
        f"{kills} kills, {harmed} harmed files of checkpoints, {faults['checkpoints']['full_disks']} full disks and "
        f"{faults['checkpoints']['stops']} stops; {files:,} files compared, {found['lost']} lost"
    )


def _strangers(found: Found) -> str:
    part = found["faults"]["strangers"]
    escaped = part["outcomes"]["ESCAPED"]
    return f"{part['attempts']} attempts to escape or forge, {part['tries']:,} tries: {escaped} escaped"


def _gsm8k(found: Found) -> str:
    return f"{found['solutions'] - len(found['disagreements']):,} of {found['solutions']:,} labels of GSM8K agreed with"


def _answers(found: Found) -> str:
    parts = [part for part in found.values() if isinstance(part, dict) and "missed" in part]
    return (
        f"{sum(part['cases'] for part in parts):,} answers read, {sum(len(part['missed']) for part in parts)} wrongly"
    )


def _iterative(found: Found) -> str:
    runs = [seed["methods"]["GRPO+PS"]["pass@1"] for seed in found["seeds"]]
    return f"GRPO with process supervision by a learned model, pass@1: {'; '.join(map(_percent, runs))}"


def _process(found: Found) -> str:
    before, after = (found["accuracy"][name]["pass_at_1"] for name in ("sft", "process"))
    return f"process supervision by a rule, pass@1 {_percent(before)} → {_percent(after)}"


def _view(found: Found) -> str:
    big, slowest = found["big"], max(found["big"]["seconds_of_filters"].values())
    ready = big["seconds_until_the_overview_is_ready"]
    return (
        f"{big['rollouts']:,} completions: page ready in {ready} s, filters in at most "
        f"{slowest} s, a new step on the screen after {big['seconds_until_a_step_is_on_the_screen']} s, "
        f"{found['memory']['megabytes']['at_most']} MB, {big['foreign_requests']} foreign requests"
    )


def _ahead(found: Found) -> str:
    sources = found["sources"]
    ahead, alone = sources["Ahead, 1 step"]["step_time"], sources["OnPolicy"]["step_time"]
    return f"steps drawn ahead take {ahead:.2f} s in place of {alone:.2f} s"


def _ledger(found: Found) -> str:
    return f"the ledger takes {found['after']['share']:.1%} of a step's learning"


def _vllm(found: Found) -> str:
    return f"vLLM and learner differ by at most {max(found['engine_learner_gap']):.1e} nats a token on average"


def _real_rewards(found: Found) -> str:
    aucs = [seed["evaluations"]["prm"]["measures"]["auc"] for seed in found["seeds"]]
    return f"a process reward model on real labels of steps, AUC {'; '.join(map(_percent, aucs))}"


def _audit(found: Found) -> str:
    return f"{len(found['audits'])} rewards audited with right, changed, empty, truncated and hostile answers"


def _turn_cost(found: Found) -> str:
    seconds = f"{found['episodes']} episodes of several turns in {found['best']['turns']:.1f} s"
    return f"{seconds}, {found['ratio']:.1f} times as long as their tokens in one turn"


def _turns(found: Found) -> str:
    told = []
    for name, example in found.items():
        ways = [
            f"{seed['before']['sampled']['value']:.2f} → {seed['after']['sampled']['value']:.2f}"
            for seed in example["seeds"]
        ]
        told.append(f"{name} {', '.join(ways)}")
    return f"the examples with turns, sampled success before and after GRPO by seed: {'; '.join(told)}"


def _turn_credit(found: Found) -> str:
    means = found["gradient"]
    return (
        f"derivative of the mean reward by each rule of credit: {', '.join(f'{value:.2g}' for value in means.values())}"
    )


def _scaling(found: Found) -> str:
    return f"cost grows linearly in group, prompt, completion and vocabulary: r² at least {_least(found):.2f}"


def _least(found: Found) -> float:
    return min(fit["r2"] for sweep in found["sweeps"].values() for fit in sweep["fits"].values())


def _silent_groups(found: Found) -> str:
    *_, (count, most) = found["groups with equal rewards"].items()
    share = f"{count} of {found['shape']['prompts']}"
    return f"learning where {share} groups have equal rewards: {most['ratio']:.2f} of the time"


def _mixtures(found: Found) -> str:
    pairs = found["mixtures"].items()
    told = [", ".join(f"{work} {pair[work]['seconds']['ratio']:.2f}" for work in found["bars"]) for _, pair in pairs]
    each = "; ".join(f"{kind} {words}" for (kind, _), words in zip(pairs, told, strict=True))
    return f"seconds of a mixture of experts, times a dense model's of the same active size: {each}"


def _real_model(found: Found) -> str:
    told = []
    for run in found["plain"]:
        was, *_, now = (sets["new names and sentences"] for sets in run["models"].values())
        greedy, sampled = (f"{was[kind]['value']:.3f} → {now[kind]['value']:.3f}" for kind in ("greedy", "sampled"))
        told.append(f"greedy {greedy} and sampled {sampled}")
    return f"SmolLM2 on names and sentences that it was not trained on, by seed: {'; '.join(told)}"


def _tutorial(found: Found) -> str:
    gains = [f"{name} {run['difference']['value']:+.3f}" for name, run in found["runs"].items()]
    return f"the tutorial's runs, gain in pass@1: {', '.join(gains)}"


def _questions(found: Found) -> str:
    return f"the questions' parts: {', '.join(sorted(set(found) - {'machine', 'versions', 'command'}))}"


def _processes(found: Found) -> str:
    times = found["times_as_long"]["step"]
    return f"a step by {found['processes']} processes on as many cores: {times:.2f} times as long as by one"


CLAIMS = (
    Claim("quickstart.json", _quickstart),
    Claim("cpu.json", _cpu, "make bench"),
    Claim("realmodel.json", _real_model, "make realmodel"),
    Claim("scaling.json", _scaling, page="speed"),
    Claim("silent_groups.json", _silent_groups, page="speed"),
    Claim("processes.json", _processes),
    Claim("mixture.json", _mixtures, page="speed"),
    Claim("parity.json", _parity, "make parity"),
    Claim("faults.json", _faults, "make faults"),
    Claim("faults.json", _strangers, "make faults"),
    Claim("gsm8k_labels.json", _gsm8k, page="gsm8k-labels"),
    Claim("answers.json", _answers),
    Claim("audit.json", _audit),
    Claim("iterative.json", _iterative),
    Claim("process.json", _process, page="process-supervision"),
    Claim("real_rewards.json", _real_rewards),
    Claim("view.json", _view, page="view"),
    Claim("ahead.json", _ahead),
    Claim("vllm.json", _vllm),
    Claim("ledger.json", _ledger),
    Claim("turns.json", _turns),
    Claim("turn_cost.json", _turn_cost, page="turns"),
    Claim("turn_credit.json", _turn_credit, page="turns"),
    Claim("tutorial.json", _tutorial),
    Claim("questions.json", _questions),
)

HEAD = """<!-- Written by `make docs` from the files of benchmarks and tools/docs/number_page.py: change those. -->

# Every number, and the command that makes it

A number in these pages comes from a file of `benchmarks/`, which a command writes with the machine it ran on. The
command is all that is needed to get the number again, or another one on another machine. Seconds are of the machine
that is named; losses, gradients and counts are of the code.
"""


def main() -> int:
    """Writes the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"wrote {PAGE}")
    return 0


def page() -> str:
    rows = [_row(claim) for claim in CLAIMS if (FOLDER / claim.file).exists()]
    named = {claim.file for claim in CLAIMS}
    others = [path for path in sorted(FOLDER.glob("*.json")) if path.name not in named]
    parts = [HEAD, "| what | command | file | stands in |", "|---|---|---|---|", *rows, ""]
    parts += ["## Further files", "", "| file | command | stands in |", "|---|---|---|"]
    parts += [f"| {_link(path.name)} | `{command_of(path.name)}` | {_pages(path.name)} |" for path in others]
    return "\n".join([*parts, "", *_models()]) + "\n"


def command_of(file: str, said: str = "") -> str:
    """The command that writes a file: what the claim says, what the file says, or the script of its name."""
    found = json.loads((FOLDER / file).read_text())
    script = FOLDER / file.replace(".json", ".py")
    return said or (found.get("command") if isinstance(found, dict) else "") or f"python benchmarks/{script.name}"


def _row(claim: Claim) -> str:
    found = json.loads((FOLDER / claim.file).read_text())
    where = _machine(found)
    words = claim.words(found) + (f" ({where})" if where else "")
    cells = words, f"`{command_of(claim.file, claim.command)}`", _link(claim.file), _pages(claim.file, claim.page)
    return f"| {' | '.join(cells)} |"


def _machine(found: Found) -> str:
    machine = found.get("machine")
    if not isinstance(machine, dict):
        return machine if isinstance(machine, str) else ""
    if "cpu" not in machine:
        return ""
    cpu = re.sub(r"\(R\)| Processor| CPU", "", machine["cpu"])
    return f"{machine['cores']} cores of {cpu}"


def _link(file: str) -> str:
    return f"[{file}](../benchmarks/{file})"


def _pages(file: str, page: str = "") -> str:
    """The pages that name a file."""
    found = [f"[{page}]({page}.md)"] if page else []
    for path in sorted((ROOT / "docs").glob("*.md")):
        if path != PAGE and f"benchmarks/{file}" in path.read_text(encoding="utf-8"):
            found.append(f"[{path.stem}]({path.name})")
    if f"benchmarks/{file}" in (ROOT / "README.md").read_text(encoding="utf-8"):
        found.insert(0, "[README](../README.md)")
    return ", ".join(found) or "–"


def _models() -> list[str]:
    """Models, memory and time: measured where they were, reckoned where that is said."""
    found = json.loads((FOLDER / "cpu.json").read_text())
    lines = [
        "## Models, memory and time",
        "",
        "Measured by `make bench`: GRPO of all parameters in float32, 8 prompts with 8",
    ]
    lines += [f"completions each, a prompt and a completion of so many tokens; {_machine(found)}, median step.", ""]
    lines += [
        "| parameters | prompt/completion | seconds a step | of these sampling | peak of the process, MB |",
        "|---|---|---|---|---|",
    ]
    for case in found["cases"]:
        if "spread" in case["case"]:
            continue
        seconds, sampling, peak = (_median(case, "ours", key) for key in ("seconds", "sampling", "peak_mb"))
        size, tokens = f"{case['parameters'] / 1e6:,.0f} million", case["case"].split()[1]
        lines.append(f"| {size} | {tokens} | {seconds:.2f} | {sampling:.2f} | {peak:,.0f} |")
    lines += [
        "",
        *RECKONED,
        "| parameters | all, float32 | all, with a reference | adapters over bfloat16 | with a critic as large (PPO) |",
    ]
    lines += ["|---|---|---|---|---|"]
    for name, count in (("0.5 billion", 0.5e9), ("1.5 billion", 1.5e9), ("7 billion", 7e9)):
        cells = [f"{count * size / 2**30:,.0f} GiB" for size in (16, 20, 2, 36)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


RECKONED = (
    "**Reckoned, not measured**, for larger models: bytes a parameter times parameters, with nothing for activations,",
    "which `tokens_per_micro_batch` bounds and `groupwise check` measures. Weights, gradient and AdamW's two moments",
    "are 16 bytes a parameter in float32, a reference 4 more, adapters over a base in bfloat16 2 and almost nothing",
    "besides, and a critic of the policy's size another 16.",
    "",
)


if __name__ == "__main__":
    sys.exit(main())
