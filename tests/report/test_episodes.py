"""Episodes in the report: a conversation, painted where the model spoke, grey where it listened."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

from groupwise.report.groups import groups
from groupwise.report.markup import join
from groupwise.report.page import write_report

Make = Callable[[str], dict[str, Any]]


def text_of(markup: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", markup)).split())


def test_a_conversation_is_painted_where_the_model_spoke(make_episodes: Make) -> None:
    markup = join(groups([make_episodes("sum")]))
    bubbles = re.findall(r'class="bubble (\w+)"', markup)
    assert bubbles == ["heard", "heard", "model", "heard", "model", "model", "heard"]
    painted = re.findall(r'<span class="up"[^>]*data-c=', markup)
    assert len(painted) == markup.count("data-c=") == 4 + 2  # what was heard has no colour, and no numbers
    labels = re.findall(r'aria-label="(Turn [^"]*)"', markup)
    assert labels == ["Turn 1 of the model: sum", "Turn 2 of the model: 7", "Turn 1 of the model: sum"]


def test_each_turn_says_its_reward_and_each_episode_why_it_ended(make_episodes: Make) -> None:
    text = text_of(join(groups([make_episodes("sum")])))
    assert "2 episodes · mean reward −0.250 · 1 finished · 1 turns" in text
    assert "turn 1 · reward +0.250 · advantage +0.500" in text
    assert "turn 2 · reward −0.500 · advantage +0.750" in text
    assert "2 turns, finished" in text
    assert "1 turn, turns" in text
    assert "turn 1 · advantage +0.500" in text
    assert "system Be brief. user What sum?" in text
    assert text.startswith("What sum? grpo, step 1")


def test_the_page_says_how_to_read_episodes(run_directory: Callable[..., Path], make_episodes: Make) -> None:
    directory = run_directory()
    assert "is grey" not in write_report(directory).read_text()
    (directory / "groups.json").write_text(json.dumps([make_episodes("x")]), encoding="utf-8")
    assert "What an environment or a tool said is grey" in write_report(directory).read_text()
