"""The benchmarks run, with what is installed here: tiny shapes, no TRL, no vLLM, no GPU."""

from __future__ import annotations

import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import warm

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"
Load = Callable[[str], ModuleType]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Load]:
    """Modules of benchmarks/ and benchmarks/speed, by name, and out of the way again; so are others' of one name."""
    for name, module in list(sys.modules.items()):
        if str(BENCHMARKS) in str(getattr(module, "__file__", "")):
            monkeypatch.delitem(sys.modules, name)
    before = set(sys.modules)
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(BENCHMARKS / "speed")
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(BENCHMARKS) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def ran(*command: str, **environment: str) -> str:
    """What it said; fails with it where the command does."""
    import os

    own = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **environment}
    done = warm.run(command, cwd=ROOT, env=own)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


def test_the_comparison_runs_with_ours_alone(tmp_path: Path) -> None:
    """Its worker is a process that has loaded torch already."""
    out = tmp_path / "cpu.json"
    start = (
        "import runpy, sys; sys.executable, *sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    ran("-c", start, warm.executable(tmp_path), "benchmarks/speed", "--smoke", "--threads", "1", "--out", str(out))
    fixed, spread = json.loads(out.read_text())["cases"]
    for case in (fixed, spread):
        assert case["failed"] == {}
        lengths = [length for own in case["lengths"] for length in own]
        steps = case["sides"]["ours"]["steps"]
        assert len(steps) == case["times"]
        assert len(lengths) == 64
        for step in steps:
            assert step["tokens"] == sum(lengths)
            assert step["sampling"] + step["learning"] < step["seconds"]
            assert 0 < step["grown_mb"] < step["peak_mb"]
    assert fixed["lengths"] == [[8] * 8] * 8
    assert all(own == sorted(own, reverse=True) for own in spread["lengths"])
    assert 80 < sum(map(sum, spread["lengths"])) / 64 < 130


def test_the_cost_of_growth_runs(tmp_path: Path) -> None:
    out, plot = tmp_path / "scaling.json", tmp_path / "scaling.svg"
    ran("benchmarks/scaling.py", "--smoke", "--times", "1", "--out", str(out), "--plot", str(plot))
    found = json.loads(out.read_text())
    assert list(found["sweeps"]) == ["group", "prompt", "completion", "vocabulary"]
    assert [point["tokens"] for point in found["sweeps"]["group"]["points"]] == [48, 80]
    assert found["shares"][0]["train_share_of_flops"] > 0
    assert plot.read_text().startswith("<svg")


def test_the_gpu_script_runs_dry_on_a_cpu(tmp_path: Path) -> None:
    ran("benchmarks/gpu.py", "--dry-run", OUT=str(tmp_path))
    found = json.loads((tmp_path / "gpu.json").read_text())
    parts = {name: part for name, part in found.items() if name.startswith("tiny")}
    assert [name for name, part in parts.items() if "failed" in part] == []
    assert set(parts) >= {"tiny decode 8", "tiny decode 16", "tiny train", "tiny shared prompt", "tiny transformers"}
    assert parts["tiny train"]["mfu"] > 0
    assert parts["tiny shared prompt"]["sampling_gain"] > 0


def test_a_line_is_fitted(load: Load) -> None:
    fit = load("scaling").fit
    assert fit([1, 2, 3], [5, 7, 9]) == pytest.approx({"constant": 3, "slope": 2, "r2": 1})
    assert fit([0, 1, 2, 3], [0, 1, 0, 1])["r2"] == pytest.approx(0.2)


def test_parameters_and_flops_are_those_of_the_model(load: Load, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    cases, ceiling = load("cases"), load("ceiling")
    model = AutoModelForCausalLM.from_pretrained(cases.TINY.save(tmp_path, 64))
    assert cases.TINY.parameters == model.num_parameters() == 35_040
    weights = ceiling.Weights.of(model)
    # A block: 32 x 32 for q and o, 32 x 16 for k and v, three of 32 x 64.
    assert weights == ceiling.Weights(blocks=2 * 9_216, head=512 * 32, layers=2, attention_width=32, kv_width=16)
    # One prompt of 4 tokens, two completions of 2: 8 tokens, of which 4 are predicted; 8 + 4 * 5 keys seen.
    assert weights.forward_flops(1, 2, 4, 2) == 2 * (18_432 * 8 + 16_384 * 4) + 4 * 2 * 32 * 28
    assert weights.decode_bytes(rows=3, context=10, each=4) == 4 * (18_432 + 16_384 + 2 * 3 * 10 * 2 * 16)


def test_seeds_are_chosen_by_the_length_they_give(load: Load) -> None:
    nearest = load("worker_ours").nearest
    assert nearest({0: 5, 1: 90, 2: 40, 3: 100}, (4, 100)) == [3, 0]
    assert nearest({0: 7, 1: 7}, (7, 7)) == [0, 1]


def steps(seconds: list[float], threads: int, tokens: int = 100, peak: float = 400.0) -> list[dict[str, Any]]:
    return [
        {"seconds": each, "sampling": each / 2, "learning": each / 4, "tokens": tokens, "threads": threads}
        | {"peak_mb": peak, "grown_mb": peak / 4}
        for each in seconds
    ]


def result() -> dict[str, Any]:
    """One case by hand: ours 1 s with two threads, TRL 4 s with one, vLLM 100 tokens in 2 s."""
    ours = steps([9.0], 1) + steps([1.0, 1.0, 1.5], 2)
    theirs = steps([4.0, 3.9, 6.0], 1, peak=1000.0) + steps([5.0], 2, peak=1000.0)
    case = {
        "case": "S 32/64",
        "size": {"name": "S"},
        "bar": 3.0,
        "failed": {"trl_defaults": "out of memory"},
        "sides": {"ours": {"steps": ours}, "trl": {"steps": theirs}},
        "vllm": [{"sampling": 2.0, "tokens": 100, "threads": 1}],
    }
    machine = {"cpu": "a CPU", "cores": 2}
    return {"machine": machine, "date": "2026-01-01", "versions": {"torch": "2"}, "minutes": 1.0, "cases": [case]}


def test_bars_are_judged_by_medians_with_the_better_thread_count(load: Load) -> None:
    figures = load("figures")
    found = figures.figures(result()["cases"][0], "ours")
    assert (found.seconds, found.threads, found.steps, found.rest) == (1.0, 2, 3, 0.25)
    bars = {bar.text: (bar.found, bar.met) for bar in figures.bars(result())}
    assert bars["S 32/64: a step against TRL tuned"] == (pytest.approx(4.0), True)
    assert bars["geometric mean over 1 cases against TRL tuned"] == (pytest.approx(4.0), True)
    assert bars["sampling on S against vLLM, geometric mean of 1"] == (pytest.approx(4.0), False)
    assert bars["peak memory of the process, share of TRL's, worst case"] == (pytest.approx(0.4), True)
    assert figures.mean([2.0, 8.0]) == pytest.approx(4.0)


def test_a_case_of_another_day_or_machine_says_so(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "page", load("page"))
    spec = importlib.util.spec_from_file_location("speed_main", BENCHMARKS / "speed" / "__main__.py")
    assert spec is not None
    assert spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    first, later = result(), result() | {"machine": {"cpu": "another CPU", "cores": 2}}
    later["cases"][0] |= {"case": "SmolLM2 32/64", "size": {"name": "SmolLM2"}, "vllm": []}
    found = main.joined([first, later])
    assert [case.get("measured", {}).get("machine", {}).get("cpu") for case in found["cases"]] == [None, "another CPU"]
    assert found["machine"] == first["machine"]
    bars = {bar.text: bar.found for bar in load("figures").bars(found)}
    assert bars["geometric mean over 1 cases against TRL tuned"] == pytest.approx(4.0)
    assert bars["SmolLM2 32/64: sampling against transformers' generate"] == pytest.approx(4.0)
    load("page").write(tmp_path, found)
    assert "SmolLM2 32/64: another CPU, 2 cores, 2026-01-01; torch 2." in (tmp_path / "speed.md").read_text()


def test_the_page_says_what_was_missed_and_what_failed(load: Load, tmp_path: Path) -> None:
    assert load("page").write(tmp_path, result()) == 1
    page = (tmp_path / "speed.md").read_text(encoding="utf-8")
    assert "| S 32/64: a step against TRL tuned | ≥ 3 | 4.00 | met |" in page
    assert "| sampling on S against vLLM, geometric mean of 1 | ≥ 5 | 4.00 | **missed** |" in page
    assert "| S 32/64 | Groupwise | 1.00 (1.00, n = 3) | 0.50 | 0.25 | 0.25 | by trial |  |" in page
    assert "* S 32/64, trl_defaults: out of memory" in page
    picture = (tmp_path / "speed.svg").read_text(encoding="utf-8")
    assert "4.00 s" in picture
    assert "TRL tuned" in picture
