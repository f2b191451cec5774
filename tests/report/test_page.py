from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.report.charts import BOTTOM, TOP, Frame, smooth, span, ticks
from groupwise.report.markup import Html, duration, element, number
from groupwise.report.page import write_report
from groupwise.report.training import thin, training

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --enable-logging=stderr --dump-dom"
)
HOSTILE = '</pre><script>document.title="broken"</script><img src=x onerror="document.title=\'broken\'">"&'

Write = Callable[..., Path]


class Page(HTMLParser):
    """Its elements, attributes and visible text; complains of tags that do not nest."""

    VOID = ("meta",)

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def browse(path: Path, profile: Path) -> tuple[str, str]:
    """The document after its scripts ran, and what Chromium logged."""
    command = [str(CHROMIUM), *FLAGS.split(), f"--user-data-dir={profile}", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    return done.stdout, done.stderr


def test_the_report_tells_the_run(run_directory: Write) -> None:
    page = Page(write_report(run_directory()).read_text())
    assert page.open == []
    for text in (
        "quickstart",
        "On 500 held-out problems, pass@1 rose from 0.3",
        "Did training raise Maj@K, or also Pass@K?",
        "sft, 300 steps → grpo, 80 steps",
        "torch 2.13.0",
        "4 min 31 s",
        "KL from the reference",
        "Groups without signal",
        "Time by phase",
        "37 + 58 - 46 = ?",
        "truncated",
        "×5 alike",
    ):
        assert text in page.text


def test_the_report_names_the_judge_and_shows_each_reward(run_directory: Write) -> None:
    """A run from before verdicts were kept says nothing of it and is shown as before."""
    directory = run_directory()
    assert "correct: by" not in Page(write_report(directory).read_text()).text
    kept = json.loads((directory / "evaluation.json").read_text())
    for model in kept["models"]:
        model["evaluation"] |= {"judge": "answer", "reward_means": {"answer": 0.5, "form": 0.25}, "maj_at": {}}
        for completion in model["evaluation"]["completions"]:
            completion |= {"reward": 2.0, "correct": False}
    kept["comparison"] |= {"maj_at": {}, "sentence": "Maj@K is left out."}
    (directory / "evaluation.json").write_text(json.dumps(kept))
    rows = [json.loads(row) for row in (directory / "metrics.jsonl").read_text().splitlines()]
    said = [json.dumps(row | {"rewards/answer/mean": 0.5, "rewards/form/mean": 1.0}) for row in rows]
    (directory / "metrics.jsonl").write_text("\n".join(said) + "\n")
    page = Page(write_report(directory).read_text())
    for text in (
        "(correct: by answer), pass@1 rose",
        "Mean reward: form",
        "Reward: form",
        "Did training raise Pass@K?",
    ):
        assert text in page.text
    assert "maj@32" not in page.text
    assert not any(attributes.get("class") == "good" for _, attributes in page.elements)


def test_groups_show_what_each_reward_added(run_directory: Write) -> None:
    """The sum alone does not say whether an answer was right and long, or wrong and short."""
    directory = run_directory()
    row = json.loads((directory / "groups.json").read_text())[0]
    for rollout in row["rollouts"]:
        rollout["parts"] = {"math": 1.0, "length": -0.2, "judge": None}
    row["rollouts"][1] = row["rollouts"][0] | {"parts": {"math": 0.5, "length": 0.3, "judge": 0.0}}  # the same sum
    (directory / "groups.json").write_text(json.dumps([row]))
    shown = write_report(directory).read_text(encoding="utf-8")
    assert "math +1 · length −0.200 · judge –" in shown
    assert "math +0.500 · length +0.300 · judge 0" in shown


def test_the_header_names_data_rewards_and_adapters(run_directory: Write) -> None:
    directory = run_directory()
    run = json.loads((directory / "run.json").read_text())
    rewards = [
        {"is": "Math", "name": "math", "weight": 1.0},
        {"is": "Weighted", "reward": {"is": "Cached", "reward": {"is": "Judge", "name": "judge"}}, "weight": 0.2},
    ]
    task = {"rewards": rewards, "referee": [], "source": "a.jsonl: 5 rows; prompt: question"}
    run["recipe"] |= {"stages": [{"task": task}, {"task": task | {"referee": [rewards[1]]}}]}
    run["recipe"]["learner"] = {"lora": {"rank": 16, "alpha": 32.0, "targets": ["q_proj", "v_proj"]}}
    (directory / "run.json").write_text(json.dumps(run))
    shown = write_report(directory).read_text(encoding="utf-8")
    assert "<dt>Data</dt><dd>a.jsonl: 5 rows; prompt: question</dd>" in shown
    assert "math, judge × 0.2; correct: by math · math, judge × 0.2; correct: by judge" in shown
    assert "LoRA of rank 16 and alpha 32 on q_proj, v_proj" in shown
    run["recipe"]["learner"] = {"lora": {"rank": 0, "alpha": 32.0, "targets": []}}
    (directory / "run.json").write_text(json.dumps(run))
    assert "LoRA" not in write_report(directory).read_text(encoding="utf-8").partition("Resolved recipe")[0]


def test_huge_numbers_have_a_curve(run_directory: Write) -> None:
    directory = run_directory()
    rows = [json.loads(row) for row in (directory / "metrics.jsonl").read_text().splitlines()]
    for value in (1e308, -1e308, 0.0):
        rows[-1 if value else -2]["reward"] = value
        (directory / "metrics.jsonl").write_text("".join(json.dumps(row | {"kl": 1e308}) + "\n" for row in rows))
        page = Page(write_report(directory).read_text())
        drawn = [attributes["d"] for tag, attributes in page.elements if tag == "path" and attributes.get("d")]
        assert drawn
        assert not any("nan" in path or "inf" in path for path in map(str, drawn))


def test_tables_charts_and_tokens_are_accessible(run_directory: Write) -> None:
    page = Page(write_report(run_directory()).read_text())
    assert page.count("caption") >= 1
    assert all("scope" in attributes for tag, attributes in page.elements if tag == "th")
    charts = [attributes for tag, attributes in page.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(charts) > 10
    assert all(attributes["aria-label"] and attributes["tabindex"] == "0" for attributes in charts)
    assert ("html", {"lang": "en"}) in page.elements


def test_tokens_are_painted_by_their_coefficients(run_directory: Write) -> None:
    directory = run_directory()
    row = json.loads((directory / "groups.json").read_text())[0]
    first = row["rollouts"][0]
    row["rollouts"] = [
        {**first, "tokens": ["a", "b", "c\n"], "coefficients": [0.5, -0.25, 0.0], "logprobs": [-1, -2, -3]}
    ]
    row["rollouts"].append({**row["rollouts"][0], "reward": 0.0, "coefficients": [0.0, 0.0, 0.0]})
    (directory / "groups.json").write_text(json.dumps([row]))
    text = write_report(directory).read_text()
    assert '<span class="up" style="--a:1.0" data-c="+0.500" data-p="−1">a</span>' in text
    assert '<span class="down" style="--a:0.5" data-c="−0.250" data-p="−2">b</span>' in text
    assert '<span data-c="0" data-p="−3">c↵\n</span>' in text


def test_nothing_is_fetched_and_only_the_reports_own_script_may_run(run_directory: Write) -> None:
    text = write_report(run_directory()).read_text()
    page = Page(text)
    assert not re.search(r"https?://|@import|url\(", text)
    assert not any("src" in attributes or "href" in attributes for _, attributes in page.elements)
    policy = next(attributes["content"] for tag, attributes in page.elements if "http-equiv" in attributes)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_what_a_model_wrote_stays_text(run_directory: Write) -> None:
    page = Page(write_report(run_directory(hostile=HOSTILE)).read_text())
    assert page.open == []
    assert page.count("script") == 1
    assert page.count("img") == 0
    assert '<script>document.title="broken"</script>' in page.text


@pytest.mark.parametrize("name", ["metrics.jsonl", "evaluation.json", "groups.json"])
def test_a_missing_part_is_left_out_and_said(run_directory: Write, name: str) -> None:
    page = Page(write_report(run_directory(leave_out=(name,))).read_text())
    assert f"This run directory has no {name}, so this part is left out." in page.text
    assert page.text.count("so this part is left out") == 1


def test_one_evaluated_model_needs_no_comparison(run_directory: Write) -> None:
    directory = run_directory()
    evaluated = json.loads((directory / "evaluation.json").read_text())
    (directory / "evaluation.json").write_text(json.dumps({"models": evaluated["models"][1:], "comparison": None}))
    page = Page(write_report(directory).read_text())
    assert "On 500 held-out problems pass@1 is 0." in page.text
    assert "Paired difference" not in page.text


def test_bad_directories_are_one_clear_line(run_directory: Write, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no run\.json, so it is not a run directory"):
        write_report(tmp_path / "elsewhere")
    directory = run_directory()
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "grpo", "st')  # a killed run's: no harm
    write_report(directory)
    with (directory / "metrics.jsonl").open("ab") as file:
        file.write(b"\n" + b"\0" * 512)  # what a machine that lost power leaves: no harm either
    write_report(directory)


@needs_chromium
def test_chromium_shows_it_without_an_error(run_directory: Write, tmp_path: Path) -> None:
    dom, log = browse(write_report(run_directory(hostile=HOSTILE)), tmp_path / "profile")
    assert "<title>broken" not in dom
    assert "Did training raise Maj@K" in dom
    assert "CONSOLE" not in log


PROBE = """<script>
const svg = document.querySelector("section.stage figure svg");
svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft"}));
const tokens = document.querySelector(".tokens");
tokens.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowRight"}));
</script></body>"""


@needs_chromium
def test_arrow_keys_read_charts_and_tokens(run_directory: Write, tmp_path: Path) -> None:
    path = write_report(run_directory())
    text = re.sub(r"<meta http-equiv[^>]*>", "", path.read_text())  # so that the probe may run
    path.write_text(text.replace("</body>", PROBE))
    dom, log = browse(path, tmp_path / "profile")
    assert '<span class="place">step 299</span>' in dom
    assert re.search(r'<b>"&lt;&lt;"</b>  coefficient \+0\.\d+  ·  log-probability −\d', dom)
    assert "CONSOLE" not in log


def test_markup_escapes_all_but_markup() -> None:
    assert element("p", "a<b", Html("<i></i>"), class_="x", data_y=[1, '"'], hidden=True, id=None) == (
        '<p class="x" data-y="[1,&quot;\\&quot;&quot;]" hidden>a&lt;b<i></i></p>'
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1.0, "1"),
        (0.12345, "0.123"),
        (-0.5, "−0.500"),
        (12.345, "12.3"),
        (123456.7, "123,457"),
        (3e-7, "3e-07"),
        (0.0123456, "0.0123"),
        (1.002, "1.00"),
    ],
)
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_start_in_unix_time_is_told_as_a_date(run_directory: Write) -> None:
    directory = run_directory()
    run = json.loads((directory / "run.json").read_text())
    machine = {"gpu": "", "cores": 2}
    (directory / "run.json").write_text(json.dumps({**run, "started": 1_795_246_674.1, "machine": machine}))
    text = Page(write_report(directory).read_text()).text
    assert " November 2026, " in text
    assert " cores 2 " in text


def test_curves_that_stay_zero_are_folded_away() -> None:
    rows = [{"stage": "sft", "step": step, "loss": 1.0, "kl": 0.0, "eval/accuracy": 0.0} for step in (1, 2)]
    (section,) = training(rows, [])
    shown, folded = section.split("<details>")
    assert "Loss" in shown
    assert "Held-out accuracy" in shown
    assert "KL from the reference" not in shown
    assert "1 more metric<" in folded


def test_durations() -> None:
    assert [duration(seconds) for seconds in (42.2, 247, 3840)] == ["42 s", "4 min 7 s", "1 h 4 min"]


def test_ticks_are_round_and_inside() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert ticks(26.3, 30.1) == [27.0, 28.0, 29.0, 30.0]
    low, high = span([3.0, 3.0])
    assert low < 3.0 < high
    assert span([], 0.0)[0] == 0.0


def test_a_moving_mean_keeps_a_straight_line() -> None:
    line = [(float(x), 2.0 * x) for x in range(100)]
    assert smooth(line)[10:-10] == line[10:-10]


def test_many_steps_are_thinned_to_means() -> None:
    rows = [{"stage": "sft", "step": step, "loss": float(step)} for step in range(1, 1201)]
    rows[5]["eval/accuracy"] = 0.5
    thinned, bucket = thin(rows)
    assert (len(thinned), bucket) == (600, 2)
    assert thinned[0] == {"stage": "sft", "step": 2, "loss": 1.5}
    assert thinned[2]["eval/accuracy"] == 0.5


@pytest.mark.parametrize("size", [0.0, 1e-200, 5e-324, 1e-9, 0.3, 1e6, 1e17, 7.5e29, 1e300, 1.7e308])
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_constant_of_any_size_is_a_flat_line(size: float, sign: float) -> None:
    frame = Frame([1, 2, 3], span([sign * size] * 3))
    places = {frame.top(sign * size) for _ in range(3)}
    assert len(places) == 1
    assert TOP <= places.pop() <= frame.height - BOTTOM
    assert 1 <= len(ticks(*frame.y_range)) <= 12
    assert len(number(sign * size)) < 24


@pytest.mark.parametrize(
    "values",
    [(1.7e308, -1.7e308, 0.0), (1e17, 1e17 + 16, 1e17), (1e-200, 2e-200, 0.0), (1e308, 1.0, None), (0.5, 1e-320, None)],
)
def test_values_at_the_edge_of_floats_are_drawn_inside_the_frame(values: tuple[float | None, ...]) -> None:
    frame = Frame([1, 2, 3], span(values))
    for value in filter(None, values):
        assert TOP <= frame.top(value) <= frame.height - BOTTOM
    found = ticks(*frame.y_range)
    assert len(set(found)) == len(found) >= 2
