"""The table of foreign names: every option and every expression it points to exists."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from groupwise import OnPolicy, algorithm, mixed, recipes, rewards, tasks
from groupwise.cli import main
from groupwise.foreign import TABLE, VALUES, Entry, entries_of
from groupwise.foreign.convert import TRANSLATORS
from groupwise.foreign.table import OTHERS, SYSTEMS, plain
from groupwise.runs.recipe import Run
from groupwise.sources import Demonstrations
from groupwise.tasks.task import Task
from groupwise.training.stage import Stage


def leaves(value: Any, prefix: str = "--") -> set[str]:
    """``--learner.lora.rank`` ... of a dataclass's value: what the command line makes options of."""
    found: set[str] = set()
    for each in fields(value):
        part = vars(value)[each.name]
        found |= leaves(part, f"{prefix}{each.name}.") if is_dataclass(part) else {f"{prefix}{each.name}"}
    return found


@pytest.fixture(scope="module")
def options() -> set[str]:
    """Of ``groupwise run METHOD``, for any method."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        assert main(["run"]) == 0
    found = set(re.findall(r"--\w+", said.getvalue()))
    for name in recipes.__all__:
        stage = Stage(name, vars(recipes)[name], Task("data", ()), steps=1)
        found |= leaves(stage) | leaves(Run(name, "model", (stage,)))
    return found


def test_it_is_large_and_speaks_of_four_systems() -> None:
    assert len(TABLE) + len(VALUES) >= 390
    assert sum(len(entry.names) for entry in TABLE) >= 840
    assert {entry.system for entry in TABLE} == set(SYSTEMS)
    assert set(TRANSLATORS) | {"Unsloth"} == set(SYSTEMS)


def test_every_option_of_ours_exists(options: set[str]) -> None:
    missing = {
        (entry.system, entry.names[0], each)
        for entry in (*TABLE, *OTHERS)
        for each in entry.options
        if each not in options
    }
    assert not missing


def mentioned(entry: Entry) -> list[str]:
    return [word for word in re.findall(r"--[a-z_.]+", entry.words) if not word.endswith(".")]


def test_every_option_that_the_words_name_exists(options: set[str]) -> None:
    assert {word for entry in TABLE for word in mentioned(entry)} - options <= {"--task"}  # of groupwise evaluate


def f(completion: str) -> float:
    return 0.0


NAMES = {**vars(algorithm), **vars(rewards), "OnPolicy": OnPolicy, "Demonstrations": Demonstrations, "mixed": mixed}
NAMES |= {"Task": Task, "f": f, "from_file": tasks.from_file}


@pytest.mark.parametrize(
    "row", [row for row in (*TABLE, *VALUES) if row.ours and not row.options], ids=lambda row: row.ours
)
def test_every_expression_can_be_computed(row: Entry) -> None:
    if row.ours.startswith("from_file("):
        compile(row.ours, "table", "eval")
        return
    slots = re.match(r"\w+=", row.ours)
    made = eval(f"dict({row.ours})" if slots else row.ours, dict(NAMES))
    if slots:
        assert set(made) <= {"source", *algorithm.Algorithm.__dataclass_fields__}


def test_a_name_has_one_meaning_for_one_trainer() -> None:
    said = Counter(
        (row.system, name, row.of, row.value) for row in (*TABLE, *VALUES) for name in row.names if "*" not in name
    )
    assert not [key for key, number in said.items() if number > 1]


def test_where_there_is_no_place_there_is_a_reason() -> None:
    for row in (*TABLE, *VALUES):
        assert row.ours or row.words, row.names
        assert "\n" not in row.words
        assert not row.words.endswith("."), row.words


@pytest.mark.parametrize("row", VALUES, ids=lambda row: f"{row.names[0]}={row.value}")
def test_a_value_belongs_to_an_option_of_the_table(row: Entry) -> None:
    assert entries_of(row.names[0], (row.system,))


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("--num-train-epochs=3", "num_train_epochs"),
        ("++data.train_files=x", "data.train_files"),
        ("+a.b=c=d", "a.b"),
        ("~trainer.logger", "trainer.logger"),
    ],
)
def test_every_spelling_is_one_name(typed: str, name: str) -> None:
    assert plain(typed) == name


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("actor_rollout_ref.actor.clip_ratio_high", "--algorithm.objective.high"),
        ("actor.clip_ratio_high", "--algorithm.objective.high"),
        ("clip_ratio_high", "--algorithm.objective.high"),
        ("trainer.save_freq", "--checkpoint_every"),
        ("save_freq", "--checkpoint_every"),
        ("algo.kl.init_coef", "--algorithm.kl.coefficient"),
        ("init_kl_coef", "--algorithm.kl.coefficient"),
        ("n_samples_per_prompt", "--algorithm.source.group_size"),
        ("vllm_max_model_length", ""),
        ("fsdp_config.param_offload", ""),
        ("actor_rollout_ref.actor.fsdp_config.model_dtype", "--learner.dtype"),
    ],
)
def test_whole_names_ends_of_names_and_families_are_found(name: str, ours: str) -> None:
    assert {entry.ours for entry, _ in entries_of(name)} >= {ours}


def test_a_whole_name_goes_before_the_end_of_another() -> None:
    assert {entry.system for entry, _ in entries_of("max_epochs")} == {"OpenRLHF"}
    assert {entry.ours for entry, _ in entries_of("temperature", ("TRL",))} == {"--algorithm.source.temperature"}
