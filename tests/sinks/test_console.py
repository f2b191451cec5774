from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from groupwise.output.sample_completions import SampleCompletion
from groupwise.sinks.console import PLAIN_WIDTH, Terminal, clock
from groupwise.sinks.step_lines import StepTable


def plain(width: int = 200) -> tuple[Terminal, io.StringIO]:
    out = io.StringIO()
    return Terminal("quickstart", Console(file=out, width=width, highlight=False)), out


def test_plain_lines_where_nobody_watches() -> None:
    terminal, out = plain()
    terminal.stage("grpo", 200, 0)
    for step in range(1, 201):
        terminal.phase("sample", 3, 64)
        terminal.metrics("grpo", step, {"reward": step / 200})
    terminal.note("2 prompts are longer than the context: [left out]")
    terminal.close({"pass@1": 0.812345, "report": "report.html"})
    lines = out.getvalue().splitlines()
    assert "\x1b" not in out.getvalue()
    assert lines[0] == "quickstart · grpo: 200 steps"
    assert lines[1:3] == ["   grpo  reward", "  1/200   0.005"]
    assert "200/200   1.000" in lines
    assert len([text for text in lines if "/200" in text]) == 21
    assert sum("reward" in text for text in lines) == 1, "a header once"
    assert lines[-3:] == ["2 prompts are longer than the context: [left out]", "pass@1: 0.8123", "report: report.html"]


def test_a_held_out_result_is_always_told() -> None:
    terminal, out = plain()
    terminal.stage("grpo", 200, 0)
    terminal.metrics("grpo", 7, {"reward": 0.5, "eval/accuracy": 0.25})
    assert out.getvalue().splitlines()[1:] == ["   grpo  reward  held-out", "  7/200   0.500     0.250"]


def test_a_resumed_stage_says_so() -> None:
    terminal, out = plain()
    terminal.stage("grpo", 60, 20)
    assert out.getvalue().strip() == "quickstart · grpo: 60 steps, continued after step 20"


def test_the_live_display_names_stage_step_phase_and_newest_numbers() -> None:
    out = io.StringIO()
    terminal = Terminal("quickstart", Console(file=out, width=160, force_terminal=True), live=True)
    terminal.stage("grpo", 4, 0)
    terminal.phase("sample", 5, 64)
    terminal.metrics("grpo", 1, {"reward": 0.25})
    terminal.live.refresh()  # type: ignore[union-attr]
    terminal.close({})
    for text in ("quickstart · grpo", "step 1/4", "sampling 5/64", "  0.250", "left"):
        assert text in out.getvalue()
    assert terminal.live is None


def test_no_color_gives_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal("run", Console(file=io.StringIO(), force_terminal=True)).is_live


GRPO = {
    "reward": 0.934,
    "kl": 0.0164,
    "entropy": 0.037,
    "completions/mean_length": 17.0,
    "frac_reward_zero_std": 0.44,
    "completions/clipped_ratio": 0.0,
    "tokens_per_second/sample": 58768.0,
    "tokens_per_second/train": 17532.0,
}


def on_terminal(width: int, live: bool = False) -> tuple[Terminal, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False)
    return Terminal("quickstart", console, live=live), out


def test_columns_that_change_get_a_new_header_and_numbers_stay_aligned() -> None:
    terminal, out = plain()
    terminal.stage("grpo", 10, 0)
    terminal.metrics("grpo", 1, GRPO | {"kl": 0.0})
    terminal.metrics("grpo", 2, GRPO)
    terminal.metrics("grpo", 3, GRPO | {"completions/clipped_ratio": 0.125})
    terminal.metrics("grpo", 4, GRPO | {"kl": 0.0})
    lines = out.getvalue().splitlines()[1:]
    assert lines == [
        " grpo  reward  no signal      kl  entropy  length  sample tok/s  train tok/s",
        " 1/10   0.934        44%  0.0000    0.037      17        58,768       17,532",
        " 2/10   0.934        44%  0.0164    0.037      17        58,768       17,532",
        " grpo  reward  truncated  no signal      kl  entropy  length  sample tok/s  train tok/s",
        " 3/10   0.934        12%        44%  0.0164    0.037      17        58,768       17,532",
        " 4/10   0.934         0%        44%  0.0000    0.037      17        58,768       17,532",
    ]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 200])
def test_columns_are_left_out_from_the_right_and_no_line_is_wider(width: int) -> None:
    terminal, out = on_terminal(width)
    terminal.stage("grpo", 600, 0)
    terminal.metrics("grpo", 1, GRPO | {"eval/accuracy": 0.25, "completions/clipped_ratio": 0.5})
    header, numbers = out.getvalue().splitlines()[-2:]
    every = ["grpo", "reward", "held-out", "truncated", "no signal", "kl", "entropy", "length"]
    every += ["sample tok/s", "train tok/s"]
    shown = re.split(r" {2,}", header.strip())
    assert max(len(header), len(numbers)) <= width
    assert shown == every[: len(shown)]
    assert len(shown) == {20: 2, 40: 4, 60: 6, 80: 8, 100: 10, 200: 10}[width]
    assert len(numbers.split()) == len(shown)


def test_a_pipe_has_the_same_width_whatever_the_console_says() -> None:
    for width in (60, 200):
        terminal, out = plain(width)
        terminal.stage("grpo", 600, 0)
        values = GRPO | {"eval/accuracy": 0.25, "completions/clipped_ratio": 0.5, "skipped_updates": 2.0}
        terminal.metrics("grpo", 1, values | {f"rewards/{n}/mean": 0.5 for n in "ab"})
        header = out.getvalue().splitlines()[1]
        assert len(header) <= PLAIN_WIDTH < len(header) + len("  train tok/s") + len("  sample tok/s")


def test_a_note_breaks_between_words_in_a_terminal_and_nowhere_in_a_pipe() -> None:
    text = "grpo: greedy accuracy 0.996 [0.986, 0.999], pass@1 0.931 [0.907, 0.949] on 500 problems, 2,082 tokens/s"
    path = "report: " + "runs/" + "x" * 70 + "/report.html"
    terminal, out = on_terminal(60)
    terminal.note(text)
    terminal.note(path)
    lines = out.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines[:2]) == text
    assert all(len(line) <= 60 for line in lines[:2])
    assert lines[-1] == path.split()[1], "a path stays whole"
    piped, out = plain(60)
    piped.note(text)
    assert out.getvalue() == text + "\n"


@pytest.mark.parametrize("width", [30, 60, 80, 120])
def test_the_live_head_is_one_line(width: int) -> None:
    terminal, _ = on_terminal(width, live=True)
    terminal.stage("grpo", 600, 0)
    terminal.metrics("grpo", 60, GRPO)
    console = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    terminal.console = console
    console.print(terminal._head())
    terminal.close({})
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len(lines) == 1
    if width >= 60:
        assert "step 60/600" in lines[0]
        assert "quickstart · grpo" in lines[0]
        assert lines[0].rstrip().endswith("left")
    assert ("━" in lines[0]) == (width >= 80)


def columns(*steps: dict[str, float]) -> list[str]:
    terminal, out = plain()
    terminal.stage("s", 5, 0)
    for number, values in enumerate(steps, start=1):
        terminal.metrics("s", number, values)
    return [" ".join(text.split()) for text in out.getvalue().splitlines()[1:]]


def test_the_columns_keep_their_order_and_leave_out_what_is_idle() -> None:
    values = {"kl": 0.0, "entropy": 0.5, "reward": 0.25, "loss": -1e-9, "completions/clipped_ratio": 0.125}
    assert columns(values) == ["s reward truncated kl entropy", "1/5 0.250 12% 0.0000 0.500"]
    assert columns({"loss": 2.0}) == ["s loss", "1/5 2.0000"]
    assert columns({"reward": 1.0, "completions/unscored": 3.0}) == ["s reward unscored", "1/5 1.000 3"]
    assert columns({"reward": 1.0, "completions/unscored": 0.0}) == ["s reward", "1/5 1.000"]
    broken = {"reward": 1.0, "skipped_updates": 1.0, "skipped_updates/gradient": 1.0}
    assert columns(broken) == ["s reward skipped", "1/5 1.000 1", "not finite: gradient"]
    assert columns({"reward": 1.0}, {"loss": 0.5}) == ["s reward", "1/5 1.000", "2/5"], "a step without its reward"


def test_a_best_and_a_worst_completion_are_shown_and_a_random_one_where_there_is_no_other() -> None:
    terminal, out = plain()
    best, worst = SampleCompletion("1 + 1 = ?", "2", 1.0, True), SampleCompletion("1 + 2 = ?", "4", 0.0, True)
    unscored = SampleCompletion("1 + 3 = ?", "5", None, True)
    terminal.completions("grpo", {"best": best, "worst": worst, "random": unscored})
    terminal.completions("grpo", {"random": unscored})
    assert out.getvalue().splitlines() == [
        "  best, reward 1: 1 + 1 = ? → 2",
        "  worst, reward 0: 1 + 2 = ? → 4",
        "  random, no reward: 1 + 3 = ? → 5",
    ]


def test_each_reward_is_shown_where_there_are_several() -> None:
    """Behind their weighted sum, in the order of the task; a long or hostile name neither widens nor breaks a line."""
    one = {"rewards/answer/mean": 0.25, "reward": 0.25, "kl": 0.1}
    assert columns(one) == ["s reward kl", "1/5 0.250 0.1000"]
    several = one | {"rewards/form/std": 0.1, "rewards/form/mean": 1.0, "reward": 0.45}
    assert columns(several) == ["s reward answer form kl", "1/5 0.450 0.250 1.000 0.1000"]
    hostile = {"rewards/\x1b[31m\nred/mean": 0.0, "rewards/" + "n" * 40 + "z/mean": 1.0}
    assert columns(hostile) == ["s ␛[31m red nnnnnnn…nnnnnnnz", "1/5 0.000 1.000"]


def test_a_reward_called_as_a_column_is_called_reward() -> None:
    """``--reward 'length:8*0.2'`` beside the column of completions' lengths."""
    table = StepTable("grpo", 1)
    table.add({"rewards/length/mean": -1.0, "rewards/math/mean": 0.5, "completions/mean_length": 8.0})
    assert sorted(table.titles.values()) == ["length", "length reward", "math"]


def test_a_huge_number_is_short_and_the_column_widens() -> None:
    values = {"reward": -1.5e308, "rewards/a/mean": 1e20, "rewards/b/mean": 2.0}
    assert columns(values) == ["s reward a b", "1/5 -1.5e+308 1e+20 2.000"]
    assert columns({"reward": 1.0}, {"reward": -1.5e308})[2:] == ["s reward", "2/5 -1.5e+308"]


def test_clock() -> None:
    assert [clock(seconds) for seconds in (7.4, 247, 3847)] == ["0:07", "4:07", "1:04:07"]
