"""How fast the viewer is on a million rollouts of 500 tokens, and what a run pays for one that is open.

    python benchmarks/view.py make RUN /tmp/big          # a ledger of 1,953 steps of 512 rollouts, made of RUN's
    python benchmarks/view.py measure /tmp/big --to benchmarks/view.json
    python benchmarks/view.py memory /tmp/big --to benchmarks/view.json
    python benchmarks/view.py cost RUN --to benchmarks/view.json
    python benchmarks/view.py beside recipe.py --to benchmarks/view.json

Needs the extra ``view``, playwright and Debian's chromium. ``beside`` runs a recipe, and stops and continues the viewer
with its page every few seconds, so that steps with and without one are of the same minute of the same machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from playwright.sync_api import sync_playwright

CHROMIUM = "/usr/bin/chromium"
STEPS, ROWS, TOKENS = 1953, 512, 500
PER_TOKEN = (
    *("tokens", "mask", "behavior_logprobs", "logprobs", "reference_logprobs", "old_logprobs", "entropy", "advantages"),
    *("coefficients", "values"),
)
FILTERS = {
    "newest": {},
    "best first": {"order": "high:reward"},
    "reward from 1": {"least": "1"},
    "wrong, longest first": {"correct": "no", "order": "high:length"},
    "one step": {"first": "1000", "last": "1000"},
    "pushed most": {"order": "high:size", "signal": "yes"},
    "one example": {"example": "train:7"},
}


def make(run: Path, to: Path, steps: int) -> None:
    """Writes a run of so many steps whose rollouts are those of ``run``, each repeated to 500 tokens."""
    source = sorted((run / "ledger").glob("*/*.parquet"))[-16:]
    to.mkdir(parents=True)
    (to / "ledger" / "grpo").mkdir(parents=True)
    for name in ("run.json", "metrics.jsonl", "times.jsonl"):
        shutil.copy(run / name, to / name)
    shutil.copytree(
        run / "models", to / "models", ignore=lambda _, names: {n for n in names if n.endswith("safetensors")}
    )
    random = np.random.default_rng(0)
    wide = [_widened(pq.read_table(path), random) for path in source]
    for step in range(1, steps + 1):
        table = wide[step % len(wide)]
        changed = {
            "step": pa.array([step] * ROWS, pa.int64()),
            "example": pa.array(
                [f"train:{number}" for number in np.repeat(random.integers(0, 20_000, ROWS // 16), 16)]
            ),
            "group": pa.array(np.repeat(np.arange(ROWS // 16), 16)),
        }
        for name, values in changed.items():
            table = table.set_column(table.column_names.index(name), name, values)
        floats = [f"{name}.list.element" for name in PER_TOKEN if name in table.column_names and _is_float(table, name)]
        strings = [field.name for field in table.schema if field.type == pa.string()]
        path = to / "ledger" / "grpo" / f"{step:06d}.parquet"
        pq.write_table(
            table, path, compression="zstd", compression_level=1, use_dictionary=strings, use_byte_stream_split=floats
        )


def _widened(table: pa.Table, random: np.random.Generator) -> pa.Table:
    """512 rows of 500 tokens: each row's own, one after the other, with noise, so that they take as many bytes as those
    of a run; texts of many rows, one after the other."""
    rows = table.take(np.arange(ROWS) % table.num_rows).combine_chunks()
    for name in PER_TOKEN:
        if name not in rows.column_names or rows[name].null_count:
            continue
        lists, kind = rows[name].to_pylist(), rows.schema.field(name).type
        values = np.array([(one * (TOKENS // len(one) + 1))[:TOKENS] for one in lists])
        if pa.types.is_floating(kind.value_type):
            values = values * (1 + 0.05 * random.standard_normal(values.shape))
        elif name == "tokens":
            values = random.permuted(values, axis=1)
        flat = pa.array(values.ravel(), kind.value_type)
        lists_again = pa.ListArray.from_arrays(pa.array(np.arange(ROWS + 1) * TOKENS, pa.int32()), flat).cast(kind)
        rows = rows.set_column(rows.column_names.index(name), name, lists_again)
    texts = rows["text"].to_pylist()
    long = [" ".join(texts[at] for at in random.integers(0, ROWS, 80))[: 4 * TOKENS] for _ in range(ROWS)]
    return rows.set_column(rows.column_names.index("text"), "text", pa.array(long))


def _is_float(table: pa.Table, name: str) -> bool:
    return pa.types.is_floating(table.schema.field(name).type.value_type)


@contextlib.contextmanager
def viewer(directory: Path) -> Iterator[tuple[str, subprocess.Popen[str], float]]:
    """A viewer of one run, its address, and the seconds until it listened."""
    begun = time.perf_counter()
    words = [sys.executable, "-m", "groupwise.cli", "view", str(directory)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout
    address = process.stdout.readline().strip()
    try:
        yield address, process, time.perf_counter() - begun
    finally:
        process.send_signal(signal.SIGCONT)
        process.terminate()
        process.wait(timeout=60)


def asker(address: str) -> Any:
    """A function that asks the server and says how long it took."""
    origin, _, token = address.partition("/?token=")
    cookie = f"groupwise-{origin.rpartition(':')[2]}={token}"

    def ask(question: str, **fields: str) -> tuple[dict[str, Any], float]:
        query = "&".join(f"{name}={value}" for name, value in fields.items())
        request = urllib.request.Request(f"{origin}/api/{question}?{query}", headers={"Cookie": cookie})
        begun = time.perf_counter()
        with urllib.request.urlopen(request) as answer:
            found = json.loads(answer.read())
        return found, time.perf_counter() - begun

    return ask


def measure(directory: Path) -> dict[str, Any]:
    """Page, filters, text, live and memory."""
    found: dict[str, Any] = {"rollouts": None, "tokens_each": TOKENS}
    with viewer(directory) as (address, process, up), sync_playwright() as drivers:
        found["seconds_until_it_listens"] = round(up, 2)
        ask, foreign = asker(address), []
        browser = drivers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.on(
            "request", lambda request: foreign.append(request.url) if not request.url.startswith(address[:21]) else None
        )
        begun = time.perf_counter()
        page.goto(address)
        page.locator(".chart canvas").first.wait_for()
        found["seconds_until_the_overview_is_ready"] = round(time.perf_counter() - begun, 2)
        begun = time.perf_counter()
        page.goto(f"{address.partition('/?')[0]}/#/rollouts")
        page.locator("tbody tr").first.wait_for()
        found["seconds_until_the_newest_rollouts_are_there"] = round(time.perf_counter() - begun, 2)
        found["seconds_until_all_rewards_are_known"] = _until(ask, begun, lambda one: one["read"] == one["steps"])
        found["seconds_of_filters_while_tokens_are_read"] = _filters(ask)
        found["seconds_until_all_tokens_are_read"] = _until(ask, begun, lambda one: one["tokens_read"] == one["steps"])
        found["seconds_of_filters"] = _filters(ask)
        found["rollouts"] = ask("rollouts")[0]["total"]
        found["seconds_of_a_filter_on_the_screen"] = _on_screen(page)
        found["text"] = _text(ask)
        found["seconds_until_a_step_is_on_the_screen"] = _live(page, directory, address)
        found["megabytes"] = _megabytes(process.pid)
        found["foreign_requests"] = len(foreign)
        browser.close()
    return found


def _until(ask: Any, begun: float, done: Any) -> float:
    while not done(ask("choices")[0]["progress"]):
        time.sleep(0.5)
    return round(time.perf_counter() - begun, 1)


def _filters(ask: Any) -> dict[str, float]:
    return {
        name: round(statistics.median(ask("rollouts", **fields)[1] for _ in range(5)), 3)
        for name, fields in FILTERS.items()
    }


def _on_screen(page: Any) -> float:
    """From the choice of another order until other rows are there."""
    begun = time.perf_counter()
    page.get_by_label("Order").select_option("high:push")
    page.locator("tbody:not([aria-busy])").wait_for()  # it is busy from the choice on
    return round(time.perf_counter() - begun, 3)


def _text(ask: Any) -> dict[str, float]:
    """A text that stands nowhere, through all files."""
    begun, answers = time.perf_counter(), []
    while True:
        answer, took = ask("rollouts", text="nobody-says-this")
        answers.append(took)
        if answer["searched"] >= 1:
            break
    return {
        "seconds_of_an_answer": round(statistics.median(answers), 3),
        "seconds_in_all": round(time.perf_counter() - begun, 1),
    }


def _live(page: Any, directory: Path, address: str) -> float:
    """From the line that a run writes until its number is on the screen; the median of five."""
    page.goto(f"{address.partition('/?')[0]}/#/overview")
    page.locator(".chart canvas").first.wait_for()
    last = json.loads((directory / "metrics.jsonl").read_text().splitlines()[-1])
    seconds = []
    for number in range(5):
        reward = 0.1111 + number / 100
        begun = time.perf_counter()
        with (directory / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({**last, "step": last["step"] + number + 1, "reward": reward}) + "\n")
        page.locator(".chart .legend b", has_text=f"{reward:.4g}").first.wait_for()
        seconds.append(time.perf_counter() - begun)
        time.sleep(0.3)
    return round(statistics.median(seconds), 3)


def _megabytes(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    known = {
        line.partition(":")[0]: int(line.split()[1]) // 1024 for line in lines if line.startswith(("VmHWM", "VmRSS"))
    }
    return {"at_most": known["VmHWM"], "now": known["VmRSS"]}


def beside(recipe: Path, out: Path, every: float) -> dict[str, Any]:
    """A run's seconds a step with and without a viewer and its page, turn and turn about."""
    words = [sys.executable, "-m", "groupwise.cli", "run", str(recipe), "--out", str(out), "--fresh"]
    run = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (out / "metrics.jsonl").exists():
        time.sleep(0.1)
    switches: list[tuple[float, bool]] = []
    with viewer(out) as (address, process, _), sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.locator(".chart canvas").first.wait_for()
        is_open = True
        while run.poll() is None:
            switches.append((time.time(), is_open))
            page.wait_for_timeout(1000 * every)
            is_open = not is_open
            os.kill(process.pid, signal.SIGCONT if is_open else signal.SIGSTOP)
        os.kill(process.pid, signal.SIGCONT)
        browser.close()
    return _with_and_without(out, switches, every)


def _with_and_without(out: Path, switches: list[tuple[float, bool]], every: float) -> dict[str, Any]:
    rows = [json.loads(line) for line in (out / "times.jsonl").read_text().splitlines()]
    last = rows[-1]["stage"]
    seconds: dict[bool, list[float]] = {True: [], False: []}
    for row in rows:
        if row["stage"] != last:
            continue
        for begun, is_open in switches:
            if begun + 0.5 + row["step_time"] <= row["time_seconds"] <= begun + every:
                seconds[is_open].append(row["step_time"])
    medians = {name: statistics.median(seconds[is_open]) for name, is_open in (("with", True), ("without", False))}
    return {
        "steps": {"with": len(seconds[True]), "without": len(seconds[False])},
        "median_seconds_a_step": {name: round(value, 4) for name, value in medians.items()},
        "speed_with_a_viewer_open": round(medians["without"] / medians["with"], 3),
    }


def cost(run: Path, steps: int = 20) -> dict[str, Any]:
    """Seconds of a core that the viewer takes for a step, with a page open, where a run writes one a second."""
    copy = Path("/tmp/groupwise-cost")
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(run, copy)
    last = [json.loads((copy / name).read_text().splitlines()[-1]) for name in ("times.jsonl", "metrics.jsonl")]
    newest = max((copy / "ledger").glob("*/*.parquet"))
    with viewer(copy) as (address, process, _), sync_playwright() as drivers:
        browser = drivers.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(address)
        page.locator(".chart canvas").first.wait_for()
        page.wait_for_timeout(3000)
        begun = _cpu_seconds(process.pid)
        for number in range(1, steps + 1):
            for name, row in zip(("times.jsonl", "metrics.jsonl"), last, strict=True):
                with (copy / name).open("a") as file:
                    file.write(json.dumps({**row, "step": row["step"] + number}) + "\n")
            shutil.copy(newest, newest.with_name(f"{last[0]['step'] + number:06d}.parquet"))
            page.wait_for_timeout(1000)
        spent = _cpu_seconds(process.pid) - begun
        browser.close()
    return {"steps": steps, "core_seconds_of_the_viewer_a_step": round(spent / steps, 4)}


def memory(directory: Path) -> dict[str, Any]:
    """Megabytes of the index of all rollouts with every filter, in one process with what the server imports; the
    tokens' numbers are drawn, since reading them takes no more."""
    import uvicorn  # noqa: F401

    from groupwise.view.filters import Filter
    from groupwise.view.index import LedgerIndex
    from groupwise.view.search import Search
    from groupwise.view.server import application  # noqa: F401

    pa.set_memory_pool(pa.system_memory_pool())
    pa.set_cpu_count(1)
    index, random = LedgerIndex(directory / "ledger"), np.random.default_rng(0)
    index.refresh()
    for _ in range(20):
        index.read_tokens()
    for begin in range(0, index.table.size, ROWS):
        count = min(ROWS, index.table.size - begin)
        drawn = {name: random.standard_normal(count).astype(np.float32) for name in ("push", "kl", "surprise", "gap")}
        index.table.set(slice(begin, begin + count), {"length": np.full(count, TOKENS, np.int32), **drawn})
    search = Search(index)
    for fields in FILTERS.values():
        search.page(Filter.of(fields), 0, 40)
    return {"rollouts": index.table.size, "megabytes": _megabytes(os.getpid())}


def _cpu_seconds(pid: int) -> float:
    parts = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Makes, or measures, and adds what was measured to a file."""
    known = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    known.add_argument("what", choices=("make", "measure", "beside", "cost", "memory"))
    known.add_argument("places", type=Path, nargs="+")
    known.add_argument("--steps", type=int, default=STEPS)
    known.add_argument("--every", type=float, default=6.0)
    known.add_argument("--to", type=Path)
    chosen = known.parse_args()
    if chosen.what == "make":
        return make(chosen.places[0], chosen.places[1], chosen.steps)
    if chosen.what == "measure":
        found = {"big": measure(chosen.places[0])}
    elif chosen.what == "cost":
        found = {"cost": cost(chosen.places[0])}
    elif chosen.what == "memory":
        found = {"memory": memory(chosen.places[0])}
    else:
        found = {"beside": beside(chosen.places[0], Path("/tmp/groupwise-beside"), chosen.every)}
    print(json.dumps(found, indent=1))
    if chosen.to:
        there = json.loads(chosen.to.read_text()) if chosen.to.exists() else {}
        chosen.to.write_text(json.dumps(there | found, indent=1) + "\n")
    return None


if __name__ == "__main__":
    main()
