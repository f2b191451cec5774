from __future__ import annotations

import io

import pytest
from rich.console import Console

from groupwise.sinks.console import Terminal, clock, line


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
    assert lines[1].startswith("grpo   1/200  reward 0.005")
    assert "grpo 200/200  reward 1.000" in lines
    assert len([text for text in lines if text.startswith("grpo ")]) == 21
    assert lines[-3:] == ["2 prompts are longer than the context: [left out]", "pass@1: 0.8123", "report: report.html"]


def test_a_held_out_result_is_always_told() -> None:
    terminal, out = plain()
    terminal.stage("grpo", 200, 0)
    terminal.metrics("grpo", 7, {"reward": 0.5, "eval/accuracy": 0.25})
    assert "grpo   7/200  reward 0.500  held-out 0.250" in out.getvalue()


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
    for text in ("quickstart · grpo", "step 1/4", "sampling 5/64", "reward 0.250", "left"):
        assert text in out.getvalue()
    assert terminal.live is None


def test_no_color_gives_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Terminal("run", Console(file=io.StringIO(), force_terminal=True)).is_live


def test_the_line_keeps_its_order_and_leaves_out_what_is_idle() -> None:
    values = {"kl": 0.0, "entropy": 0.5, "reward": 0.25, "loss": -1e-9, "completions/clipped_ratio": 0.125}
    assert line(values) == "reward 0.250  entropy 0.500  truncated 12%"
    assert line({"loss": 2.0}) == "loss 2.0000"
    assert line({"reward": 1.0, "completions/unscored": 3.0}) == "reward 1.000  without reward 3"
    assert line({"reward": 1.0, "completions/unscored": 0.0}) == "reward 1.000"


def test_each_reward_is_shown_where_there_are_several() -> None:
    """Behind their weighted sum, in the order of the task."""
    one = {"rewards/answer/mean": 0.25, "reward": 0.25, "kl": 0.1}
    assert line(one) == "reward 0.250  kl 0.1000"
    several = {
        "rewards/answer/mean": 0.25,
        "rewards/answer/std": 0.1,
        "rewards/form/mean": 1.0,
        "reward": 0.45,
        "kl": 0.1,
    }
    assert line(several) == "reward 0.450  answer 0.250  form 1.000  kl 0.1000"


def test_a_huge_number_is_short() -> None:
    assert (
        line({"reward": -1.5e308, "rewards/a/mean": 1e20, "rewards/b/mean": 2.0})
        == "reward -1.5e+308  a 1e+20  b 2.000"
    )


def test_clock() -> None:
    assert [clock(seconds) for seconds in (7.4, 247, 3847)] == ["0:07", "4:07", "1:04:07"]
