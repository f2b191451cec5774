from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from groupwise.protocols import Sink
from groupwise.sinks import Sinks
from groupwise.sinks.jsonl import JsonLines


class Broken(JsonLines):
    def close(self, summary: Mapping[str, Any]) -> None:
        raise OSError("disk full")


class Closed(JsonLines):
    def close(self, summary: Mapping[str, Any]) -> None:
        self.path.with_suffix(".closed").write_text(json.dumps(summary))


def test_every_sink_hears_everything_and_is_closed_even_after_an_error(tmp_path: Path) -> None:
    sinks: Sink = Sinks(Broken(tmp_path / "a.jsonl"), Closed(tmp_path / "b.jsonl"))
    sinks.stage("sft", 1, 0)
    sinks.phase("train", 1, 2)
    sinks.metrics("sft", 1, {"loss": 1.5})
    sinks.groups("sft", 1, [], [])
    sinks.note("a note")
    assert json.loads((tmp_path / "a.jsonl").read_text())["loss"] == 1.5
    assert json.loads((tmp_path / "b.jsonl").read_text())["loss"] == 1.5
    with pytest.raises(OSError, match="disk full"):
        sinks.close({"reward": 1.0})
    assert json.loads((tmp_path / "b.closed").read_text()) == {"reward": 1.0}


def test_importing_the_sinks_is_light() -> None:
    heavy = ["torch", "transformers", "tensorboard", "rich", "numpy", "pyarrow"]
    modules = "sinks, sinks.jsonl, sinks.console, sinks.tensorboard, sinks.report, evaluation, statistics, comparison"
    code = "import sys; " + "; ".join(f"import groupwise.{name}" for name in modules.split(", "))
    code += f"; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=1200, check=True)
    assert done.stdout.strip() == "[]"
