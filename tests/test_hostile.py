"""Whatever a model writes costs at most its own score: nothing breaks, hangs, runs or becomes markup."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from rich.console import Console

from groupwise import recipes
from groupwise.audit import audit
from groupwise.commands.audit_tables import _shown
from groupwise.commands.conversation import TextStream
from groupwise.learning.collate import signals_of
from groupwise.learning.record import StepRecord
from groupwise.ledger.files import Ledger
from groupwise.output.printable import visible
from groupwise.output.sample_completions import SampleCompletion
from groupwise.protocols import Reward
from groupwise.report.page import write_report
from groupwise.rewards import (
    Cached,
    FinalAnswer,
    Format,
    Judge,
    LengthPenalty,
    Math,
    as_reward,
    final_answer,
    score_rollouts,
)
from groupwise.rewards.answers import parse_number, parse_quantity
from groupwise.rewards.judge import parse_score
from groupwise.rewards.programs import program
from groupwise.rewards.reasoning_gym import submitted_answer
from groupwise.sinks.console import Terminal
from groupwise.sources import offline_files
from groupwise.sources.draw import OfflineGroups
from groupwise.storage.atomic import write_json
from groupwise.tokens.segmentation import Delimiter, Lines, Sentences
from groupwise.types import Example, Group, Prompt, Rollout

MEGABYTE = 1 << 20
HOSTILE = {
    "tower": "10**10**10",
    "power": "#### 9^9^9^9^9^9",
    "factorial": r"\boxed{9999999!!!}",
    "exponent": "#### 1e999999999",
    "digits": "#### " + "9" * 100_000,
    "brackets": "(" * MEGABYTE,
    "both brackets": "[" * (MEGABYTE // 2) + "]" * (MEGABYTE // 2),
    "boxes": r"\boxed{" * 100_000,
    "closed boxes": r"\boxed{" * 50_000 + "}" * 50_000,
    "fractions": "$" + r"\frac{1}{" * 5_000 + "1" + "}" * 5_000 + "$",
    "hashes": "#" * MEGABYTE,
    "answers": "the answer is " * 50_000,
    "lines": "\n" * MEGABYTE,
    "one line": "a b" * (MEGABYTE // 3),
    "spaces": "A:" + " " * MEGABYTE,
    "surrogate": "#### 4\ud800 \udfff",
    "nul": "#### 4\x00\x00",
    "escapes": "\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]8;;http://x\x1b\\link\x9b31m\x7f\r\b\b",
    "directions": "\u202eevil\u202c \u2066x\u2069 \u200b\ufeff",
    "markup": "[red]x[/red] [link=http://x]y[/link] [/] [bold :smile: [@click=x]",
    "script": "</p></details><script>alert(1)</script><img src=x onerror=alert(1)>",
    "attribute": '" onmouseover="alert(1)" x=\'',
    "template": "${body} $x {{7*7}} {0} %s %(x)s",
    "program": "__import__('os').system('touch /tmp/groupwise-hostile')",
    "think": "<think>" * 50_000,
    "answer tags": "<answer>" * 50_000,
    "scores": '"score": ' * 50_000,
    "fences": "```python\n" * 50_000,
    "combining": "a" + "\u0301" * 100_000,
    "other digits": "#### ٣٤٥ ４２ ²",
    "empty": "",
}
MARK = Path("/tmp/groupwise-hostile")
Make = Callable[[str], Rollout]


@pytest.fixture(scope="module")
def attempt() -> Make:
    def make(text: str) -> Rollout:
        prompt = Prompt(Example("row:1", "2 + 2 =", answer="4"), (1, 2))
        return Rollout(prompt, (0, 1), (True, True), (-0.1, -0.2), text, finished=True, version=0)

    return make


def raises(completion: str) -> float:
    raise ValueError(completion)


def counts(completion: str) -> float:
    return float(len(completion))


@pytest.mark.parametrize(
    "reward",
    [
        FinalAnswer(last_number=True),
        Math(),
        Format(r"<think>.*</think>\s*<answer>.*</answer>\s*", time_limit_seconds=1.0),
        LengthPenalty(),
        as_reward(counts),
        as_reward(raises),
    ],
    ids=lambda reward: reward.name,
)
def test_every_reward_says_something_of_every_text(reward: Reward, attempt: Make) -> None:
    MARK.unlink(missing_ok=True)
    rows, metrics = score_rollouts([attempt(text) for text in HOSTILE.values()], [reward])
    assert len(rows) == len(HOSTILE)
    for row in rows:
        assert row.reward is not None or row.scores[reward.name].status in ("timeout", "failed")
    assert metrics[f"rewards/{reward.name}/seconds"] < 60
    assert not MARK.exists()


@pytest.mark.parametrize("name", HOSTILE)
def test_every_reader_of_text_comes_back_at_once(name: str) -> None:
    text, started = HOSTILE[name], time.process_time()
    final_answer(text, last_number=True)
    for part in (text, final_answer(text) or "", text[:200]):
        parse_number(part)
        parse_quantity(part)
    parse_score(text, 10.0)
    submitted_answer(text)
    program(text)
    for steps in (Lines(), Delimiter("\n\n"), Sentences()):
        assert list(steps.ends(text)) == sorted(steps.ends(text))
    visible(text)
    assert time.process_time() - started < 5.0


@pytest.mark.parametrize("name", HOSTILE)
def test_a_judge_can_be_asked_about_it(name: str, attempt: Make) -> None:
    body = json.dumps(Judge("http://localhost:1/v1", "m").request(attempt(HOSTILE[name]))).encode()
    assert json.loads(body)["messages"][0]["content"].count("<completion ") == 1


@pytest.mark.parametrize("name", HOSTILE)
def test_a_terminal_is_sent_nothing_that_it_obeys(name: str) -> None:
    text = HOSTILE[name][:5000]
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, color_system="truecolor", width=80, highlight=False)
    terminal = Terminal("run", console, live=False)
    terminal.note(text)
    terminal.close({"reason": text})
    shown = written.getvalue()
    assert not {letter for letter in shown if ord(letter) < 32} - {"\n", "\t"}
    assert not set(shown) & set("\x7f\x9b\u202e\u2066")
    shown.encode()
    if name == "markup":
        assert text in shown


@pytest.mark.parametrize("name", HOSTILE)
def test_what_is_streamed_and_listed_is_made_visible(name: str) -> None:
    text = HOSTILE[name][:5000]
    stream = TextStream(lambda tokens: text[: len(tokens)])
    said = "".join(visible(stream.add(token)) for token in range(min(len(text), 300)))
    for shown in (said, _shown(text)):
        assert not set(shown) & set("\x1b\x00\x07\x9b\x7f\r\b")
        shown.encode()


def test_it_is_kept_and_read_back(attempt: Make, tmp_path: Path) -> None:
    rollouts = [replace(attempt(text), rewards={1: float(n % 2)}) for n, text in enumerate(HOSTILE.values())]
    group = Group(rollouts[0].prompt, tuple(rollouts))
    offline_files.write(tmp_path / "gathered.jsonl", OfflineGroups([group]), {"row:1": 0}, "test")
    kept = offline_files.read(tmp_path / "gathered.jsonl", [group.prompt.example], "test")
    assert kept is not None
    assert kept.groups == [group]

    signals = recipes.grpo.prepare(signals_of([group]))
    zeros = torch.zeros(signals.mask.shape)
    ledger = Ledger(tmp_path)
    ledger.write("stage", StepRecord(1, [group], signals, zeros, zeros))
    texts = [row["text"] for row in ledger.read("stage", 1)]
    assert texts == [text.encode("utf-8", "replace").decode() for text in HOSTILE.values()]

    for row in rollouts[:: len(rollouts) // 6]:
        Cached(as_reward(counts), tmp_path / "cache.db").score([row])
        FinalAnswer().votes([row])


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_the_report_shows_it_and_runs_nothing(tmp_path: Path) -> None:
    small = {name: text[:3000] for name, text in HOSTILE.items()}
    write_json(tmp_path / "run.json", {"name": small["script"], "recipe": small, "stages": []})
    alarms = [{"stage": "s", "step": 1, "alarm": text, "sentence": text} for text in small.values()]
    (tmp_path / "alarms.jsonl").write_text("".join(json.dumps(row) + "\n" for row in alarms), encoding="utf-8")
    page = write_report(tmp_path).read_text(encoding="utf-8")
    seen = Tags()
    seen.feed(page)
    assert seen.tags.count("script") == 2  # its own, and its data
    assert "img" not in seen.tags
    assert seen.handlers == []
    assert "\\u003cscript>alert(1)" in page


def test_files_keep_half_a_surrogate_pair_as_json_does(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", vars(SampleCompletion(HOSTILE["surrogate"], HOSTILE["nul"], None, True)))
    assert HOSTILE["surrogate"] in json.loads((tmp_path / "x.json").read_text(encoding="utf-8")).values()


def test_an_audit_of_hostile_outputs_ends(attempt: Make) -> None:
    rows = [
        Example(f"row:{n}", "?", answer="4", columns={"output": text[:100_000], "label": n % 2 == 0})
        for n, text in enumerate(HOSTILE.values())
    ]
    done = audit(FinalAnswer(), rows)
    assert done.graded
