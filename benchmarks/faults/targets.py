"""What is fuzzed: each target takes bytes, and anything but silence or a UserError is a finding."""

from __future__ import annotations

import gzip
import io
import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from groupwise import recipes
from groupwise.algorithm import Algorithm
from groupwise.errors import UserError
from groupwise.explain.case import signals_of
from groupwise.explain.reading import read_case
from groupwise.output.printable import visible
from groupwise.rewards.answers import final_answer, numbers_equal, parse_number, parse_quantity
from groupwise.rewards.judge import parse_score
from groupwise.rewards.programs import program, row_tests
from groupwise.rewards.reading.equality import compare_values
from groupwise.rewards.reading.reader import Reader
from groupwise.rewards.reading.references import read_reference
from groupwise.rewards.reading.tolerances import tolerance
from groupwise.rewards.reasoning_gym import submitted_answer
from groupwise.tasks.from_file import from_file
from groupwise.tokens.segmentation import Lines, Sentences
from groupwise.types import Example

KINDS = (".jsonl", ".json", ".csv", ".jsonl.gz", ".parquet")
METHODS: tuple[Algorithm, ...] = (recipes.grpo, recipes.ppo, recipes.dpo, recipes.grpo_process)


@dataclass(frozen=True)
class Target:
    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    words: tuple[str, ...]
    """What a mutation may put in."""


def readers(data: bytes) -> None:
    """A file of the kind that the first byte says."""
    kind = KINDS[data[0] % len(KINDS)] if data else ".json"
    body = data[1:]
    path = SCRATCH / f"rows{kind}"
    path.write_bytes(gzip.compress(body, 1) if kind.endswith(".gz") and not body.startswith(b"\x1f\x8b") else body)
    try:
        task = from_file(path)
    except UserError as error:
        _check(error)
    else:
        assert len(task.train), "no rows and no error"


def answers(data: bytes) -> None:
    """The text of a completion, and of a row's tests."""
    text = data.decode("utf-8", "surrogatepass") if _is_text(data) else data.decode("latin-1")
    left, _, right = text.partition("\0")
    found = final_answer(left, last_number=True)
    for part in (left, right, found or ""):
        number = parse_number(part)
        assert number is None or parse_quantity(part) == number
        assert not numbers_equal(part, "not a number")
    gold = read_reference(right)
    answer = Reader().answer(left, gold, unmarked=True)
    if answer is not None:
        for value in gold.values:
            compare_values(value, answer, tolerance("exact"))
    parse_score(left, 10.0)
    submitted_answer(left)
    program(left)
    visible(left)
    for steps in (Lines(), Sentences()):
        assert all(0 < end <= len(left) for end in steps.ends(left))
    try:
        row_tests(Example("row", "?", columns={"tests": left}), "")
    except UserError:
        return


def cases(data: bytes) -> None:
    """A case file of ``groupwise explain``, up to the numbers that a method would see."""
    path = SCRATCH / "case.json"
    path.write_bytes(data)
    for scores in (False, True):
        try:
            case = read_case(path, scores)
            for method in METHODS:
                signals_of(case, method, "method")
        except UserError as error:
            _check(error)


def _check(error: UserError) -> None:
    assert "\n" not in str(error), "an error of several lines"


def _is_text(data: bytes) -> bool:
    try:
        data.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _parquet() -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    written = io.BytesIO()
    pq.write_table(pa.table({"question": ["1+1="], "answer": ["2"]}), written)
    return written.getvalue()


def _scratch() -> Path:
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="groupwise-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))


SCRATCH = _scratch()
_ROWS = b'{"prompt": "1+1=", "answer": "2"}\n{"prompt": "2+2=", "answer": "4"}\n'
_CHAT = b'[{"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "ho"}]}]'
_PAIR = b'{"prompt": "a", "chosen": [{"role": "user", "content": "b"}], "rejected": "c"}\n'
_VERL = b'{"data_source": "x", "prompt": [{"role": "user", "content": "q"}], "reward_model": {"ground_truth": "1"}}\n'
_CASE = {
    "groups": [
        [
            {"logprobs": [-0.1, -0.2], "old_logprobs": [-0.1, -0.3], "reference_logprobs": [-0.2, -0.2], "reward": 1},
            {"logprobs": [-1.5], "rewards": {"a": 0.5}, "mask": [1], "truncated": True, "step_rewards": {"0": 0.5}},
        ]
    ],
    "greedy_rewards": [0.5],
    "reward_weights": {"a": 2.0},
}
_FULL = {
    "groups": [
        [
            {
                **{name: [-0.5, -0.25] for name in ("logprobs", "old_logprobs", "reference_logprobs")},
                "behavior_logprobs": [-0.5, -0.5],
                "values": [0.5, 0.25],
                "reward": reward,
            }
            for reward in (1.0, 0.0)
        ]
    ]
}

TARGETS = {
    "data readers": Target(
        readers,
        (
            b"\x00" + _ROWS,
            b"\x01" + _CHAT,
            b"\x02question,answer\n1+1=,2\n",
            b"\x03" + _ROWS,
            b"\x04" + _parquet(),
            b"\x00" + _PAIR,
            b"\x00" + _VERL,
        ),
        ('"prompt"', '"answer"', '"messages"', '"role"', '"content"', '"chosen"', "\\ud800", "\ufeff", "1e999", "NaN"),
    ),
    "answer extraction": Target(
        answers,
        (
            b"<<1+1=2>>\n#### 1,234.50\0 1234.5",
            rb"so \boxed{\frac{1}{2}}\0 0.5",
            b"The answer is $18 per day.",
            b"A: -.5%",
        ),
        ("####", "\\boxed{", "\\frac{", "answer is", "A: ", "\\left", "1e99", "**", "!", "```python\n", '{"score": 1}'),
    ),
    "case reader": Target(
        cases,
        (json.dumps(_CASE).encode(), json.dumps(_FULL).encode(), b'{"groups": [[{"logprobs": [0]}]]}'),
        (
            '"groups"',
            '"logprobs"',
            '"step_rewards"',
            '"mask"',
            '"values"',
            "[[",
            "null",
            "-1e308",
            "1e-320",
            '"0"',
            "NaN",
        ),
    ),
}
