"""A script is somebody else's: nothing of it is run, and no value of it becomes code."""

from __future__ import annotations

import ast
import contextlib
import math
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.foreign import TABLE
from groupwise.foreign.convert import convert
from groupwise.foreign.reading import read
from groupwise.foreign.script import MOST_BYTES, TRAINERS, DataPath, RewardCall, Script, Setting

KINDS = {"TRL": TRAINERS, "verl": ("PPO", "SFT"), "OpenRLHF": ("PPO", "DPO", "SFT", "Reward")}
HOSTILE = (
    "x' + __import__('os').getcwd() + '",
    '"""\n__import__("os")\n"""',
    "\\'); __import__('os') #",
    "{__import__}",
)
ODD = (None, "", -1, 0, math.nan, math.inf, [], {}, ["a", 1], 1e30, True, 0.5, {"a": [1]}, "\0\x1b[31m", "\ud800")


def cases() -> list[tuple[str, str, str]]:
    found = {
        ("TRL" if entry.system == "Unsloth" else entry.system, name.rstrip("*").rstrip("_.")) for entry in TABLE
        for name in entry.names
    }  # fmt: skip
    return sorted((system, trainer, name) for system, name in found for trainer in KINDS[system])


def test_no_value_becomes_code() -> None:
    for at, (system, trainer, name) in enumerate(cases()):
        hostile = HOSTILE[at % len(HOSTILE)]
        script = Script(system, trainer, [Setting(name, hostile)], DataPath(hostile), unread=[hostile])
        with contextlib.suppress(UserError):
            text = convert(script, "recipe", hostile).text
            names = [node.id for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Name)]
            assert "__import__" not in names, name


def test_odd_values_are_an_error_or_a_recipe() -> None:
    for at, (system, trainer, name) in enumerate(cases()):
        for odd in (ODD[at % len(ODD)], ODD[(at * 7 + 3) % len(ODD)]):
            with contextlib.suppress(UserError):
                text = convert(Script(system, trainer, [Setting(name, odd)]), "recipe", "it").text
                assert ast.parse(text).body, (name, odd)
                text.encode()


def test_names_of_rewards_and_of_models_are_texts() -> None:
    rewards = [RewardCall("a'); b(", "model"), RewardCall("m:f'", "file"), RewardCall("x'", "named")]
    text = convert(Script("TRL", "GRPO", [], rewards=rewards), "recipe", "it").text
    calls = [node.func for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert not {"a", "b", "m", "f", "x"} & {node.id for node in calls if isinstance(node, ast.Name)}


def test_a_python_script_is_read_and_not_run(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'ran')!r}).touch()\n"
        "from trl import SFTConfig, SFTTrainer\n"
        f"rate = pathlib.Path({str(tmp_path / 'ran')!r}).touch() or 1e-5\n"
        "SFTTrainer(model='m', args=SFTConfig(learning_rate=rate)).train()\n"
    )
    assert "learning_rate=rate (line 5)" in read([str(script)]).unread[0]
    assert not (tmp_path / "ran").exists()


def test_a_shell_script_is_read_and_not_run(tmp_path: Path) -> None:
    script = tmp_path / "train.sh"
    script.write_text(
        f"touch {tmp_path}/ran; trl sft --model_name_or_path $(touch {tmp_path}/ran) --dataset_name `x`\n"
    )
    assert len(read([str(script)]).unread) >= 1
    assert not (tmp_path / "ran").exists()


DEEP = {
    "deep.py": "x = " + "(" * 300 + ")" * 300,
    "long.py": "from trl import SFTTrainer\nSFTTrainer(model=" + "+".join(["'a'"] * 5000) + ")",
    "power.py": "from trl import SFTConfig, SFTTrainer\nSFTTrainer(model='m', args=SFTConfig(seed=9**9**9))",
    "nul.py": "a = '\0'",
    "bad.py": "def (",
    "other.py": "from trl import KTOTrainer\nKTOTrainer()",
    "none.py": "print(1)",
    "deep.yaml": "a: " + "[" * 3000,
    "object.yaml": "a: !!python/object/apply:os.getcwd []",
    "bomb.yaml": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)),
    "list.yaml": "- a\n- b",
    "unknown.yaml": "colour: red",
    "undecided.yaml": "learning_rate: 1e-5",
    "quote.sh": "trl grpo --model 'x",
    "none.sh": "echo hello",
    "empty.sh": "",
    "binary.sh": b"\xff\xfe\x00",
    "kind.pdf": "x",
    "large.yaml": "a: b\n" * (MOST_BYTES // 4),
}


READ = ("power.py",)
"""What has no value is told; the rest of the script is read."""


@pytest.mark.parametrize("name", DEEP)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    path, content = tmp_path / name, DEEP[name]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    if name in READ:
        assert read([str(path)]).unread
        return
    with pytest.raises(UserError, match=name) as told:
        read([str(path)])
    assert len(str(told.value)) < 500


@pytest.mark.parametrize("words", [["nothing.py"], ["no/such/dir/x.yaml"], ["a=b"], ["x y z"], ["."]])
def test_nothing_to_convert_says_what_is_expected(words: list[str]) -> None:
    with pytest.raises(UserError, match="expected a file"):
        read(words)
