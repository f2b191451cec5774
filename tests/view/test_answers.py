"""What the pages are told, of groups, evaluations, comparisons and other methods."""

from __future__ import annotations

import json
from contextlib import redirect_stdout
from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from groupwise.commands import explain
from groupwise.commands.view import EXPLAINER, methods
from groupwise.errors import UserError
from groupwise.ledger.columns import schema
from groupwise.view.answers import Answers
from groupwise.view.groups import COLUMNS
from groupwise.view.ledger_numbers import FORM, NEEDED
from groupwise.view.run_files import RunFiles
from groupwise.view.what_if import WhatIf, option_words


def answers_of(*directories, explain=None):
    found = Answers.of([RunFiles(directory) for directory in directories], explain)
    for index in found.indices:
        index.refresh()
    return found


def test_a_group_is_its_tokens(make_run):
    found = answers_of(make_run()).group({"stage": "grpo", "step": "2", "group": "0"})
    first = found["rollouts"][0]
    assert first["pieces"] == ["2", "\n", "#### ", "2", "<end>"]
    assert first["special"] == [4]
    assert first["numbers"]["coefficients"] == [0.1] * 5
    assert first["numbers"]["reference_logprobs"] == [-0.75] * 5
    assert found["answer"] == "2"
    assert (found["groups"], found["members"], found["steps"]) == (2, 2, [1, 2, 3])


def test_a_group_of_the_newest_step_where_none_is_said(make_run):
    assert answers_of(make_run()).group({})["step"] == 3


def test_of_a_long_completion_the_beginning_is_told(make_run):
    found = answers_of(make_run()).group({"stage": "grpo", "step": "1", "tokens": "2"})
    first = found["rollouts"][0]
    assert (first["pieces"], first["size"], len(first["numbers"]["entropy"])) == (["2", "\n"], 5, 2)


def test_numbers_that_json_has_not_are_gaps(make_run, hand):
    directory = make_run()
    odd = hand.row(4, 0, float("nan"), [1, 0], logprobs=[float("-inf"), -1.0])
    hand.write_step(directory, [odd])
    rollout = answers_of(directory).group({"stage": "grpo", "step": "4"})["rollouts"][0]
    assert rollout["reward"] is None
    assert rollout["numbers"]["logprobs"] == [None, -1.0]
    json.dumps(rollout, allow_nan=False)


def test_an_episode_is_a_conversation(make_run, hand):
    directory = make_run()
    said = [
        {"role": "user", "content": "Guess."},
        {"role": "assistant", "content": "2"},
        {"role": "tool", "name": "hint", "content": "more"},
        {"role": "assistant", "content": "3"},
    ]
    mask = [True, True, False, True, True]
    one = hand.row(4, 0, 1.0, [1, 0, 9, 2, 0], mask=mask, stop="done", turns=[1, 4], messages=json.dumps(said))
    hand.write_step(directory, [one])
    found = answers_of(directory).group({"stage": "grpo", "step": "4"})
    assert [part["text"] for part in found["opening"]] == ["Guess."]
    assert [(part["role"], part["begin"], part["end"]) for part in found["rollouts"][0]["said"]] == [
        ("assistant", 0, 2),
        ("tool", 0, 0),
        ("assistant", 3, 5),
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"run": "7"}, "run is 7; expected 0 to 0"),
        ({"run": "-1"}, "run is -1"),
        ({"stage": "../../etc"}, "no stage ../../etc"),
        ({"stage": "grpo", "step": "99"}, "no step 99"),
        ({"stage": "grpo", "step": "1", "group": "5"}, "no group 5; it has 2"),
    ],
)
def test_what_is_not_there_is_said(make_run, fields, words):
    with pytest.raises(UserError, match=words):
        answers_of(make_run()).group(fields)


def test_disagreements_stand_first(make_run, hand):
    directory = make_run()
    hand.write_evaluation(directory)
    found = answers_of(directory).evaluation({})
    assert [(row["id"], row["kind"]) for row in found["problems"]] == [
        ("held:0", "lost"),
        ("held:1", "gained"),
        ("held:2", "wrong"),
        ("held:3", "right"),
    ]
    assert found["problems"][0]["before"]["text"] == "a"
    assert [one["name"] for one in found["models"][0]["measures"]] == ["greedy accuracy", "pass@1"]


def test_bits_per_byte_stand_beside_the_first_models(make_run):
    directory = make_run()
    interval = {"value": 2.0, "low": 1.5, "high": 2.5}
    before = {
        "task": "t",
        "ids": ["a", "b"],
        "bits": [20.0, 20.0],
        "bytes": [10, 10],
        "tokens": 9,
        "bits_per_byte": interval,
    }
    after = before | {"bits": [10.0, 10.0], "bits_per_byte": {"value": 1.0, "low": 0.9, "high": 1.1}}
    rows = [{"stage": "before sft", "evaluation": before}, {"stage": "sft", "evaluation": after}]
    (directory / "evaluation.json").write_text(json.dumps({"models": [], "scorers": [], "texts": rows}))
    first, last = answers_of(directory).evaluation({})["texts"]
    assert (first["moment"], first["value"], first["documents"], first["bytes"]) == ("before sft", 2.0, 2, 20)
    assert first["difference"] is None
    assert last["difference"]["value"] == pytest.approx(-1.0)


def test_two_runs_differ_where_their_recipes_do(make_run, hand):
    first, second = make_run("one"), make_run("two", steps=2)
    record = json.loads((second / "run.json").read_text())
    record["recipe"]["stages"][0]["algorithm"]["source"]["group_size"] = 8
    (second / "run.json").write_text(json.dumps(record))
    found = answers_of(first, second).compare({"first": "0", "second": "1", "stage": "grpo"})
    assert found["recipes"] == [{"place": "grpo.algorithm.source.group_size", "first": "4", "second": "8"}]
    assert found["shared"] == ["train:0", "train:1"]
    assert found["runs"][0]["last"]["grpo"]["reward"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", []),
        ("kl.coefficient=0", ["--kl.coefficient=0"]),
        ("--kl.coefficient 0 objective.high=0.28", ["--kl.coefficient=0", "--objective.high=0.28"]),
        ("--algorithm.kl.coefficient -1", ["--algorithm.kl.coefficient=-1"]),
    ],
)
def test_options_are_read_as_on_the_command_line(text, words):
    assert option_words(text) == words


@pytest.mark.parametrize(
    "text",
    ["--run /etc", "run=/etc", "--case=x", "--against grpo", "1=2", "-x", "--json", "a=1 'b", "--a/b=1", "--help"],
)
def test_options_that_are_none_of_a_method_are_refused(text):
    with pytest.raises(UserError):
        option_words(text)


def test_methods_are_listed_without_importing_them():
    known = dict(methods())
    assert "dr_grpo" in known
    assert all(line for line in known.values())


def test_what_if_is_explain_to_the_last_digit(make_run):
    directory = make_run()
    other = WhatIf(EXPLAINER)
    found = answers_of(directory, explain=other)
    try:
        fields = {"stage": "grpo", "step": "2", "method": "dr_grpo", "options": "objective.high=0.3"}
        answer = found.what_if(fields)
        with pytest.raises(UserError, match="neither a recipe file"):
            found.what_if({**fields, "method": "no such method"})
        with pytest.raises(UserError, match=r"perhaps you meant|unknown option|no say"):
            found.what_if({**fields, "options": "no_such_option=1"})
        again = found.what_if(fields)
    finally:
        other.close()
    printed = StringIO()
    with redirect_stdout(printed):
        explain.execute(
            [
                "dr_grpo",
                "--run",
                str(directory.resolve()),
                "--stage",
                "grpo",
                "--step",
                "2",
                "--json",
                "--objective.high=0.3",
            ]
        )
    assert answer == again == printed.getvalue()


def test_a_child_that_ends_is_begun_again_and_said():
    other = WhatIf(["false"])
    with pytest.raises(UserError, match="ended, or gave no answer"):
        other.ask(None, "grpo", 1, "grpo", "")
    other.close()


def test_the_columns_that_are_shown_are_the_ledgers():
    form = schema()
    assert {name: form.field(name).type for name in FORM} == FORM
    assert set(COLUMNS) <= set(FORM)


def changed(whole, name, change):
    """A step's table without a column, with nothing in it, or with something else."""
    if change == "without":
        return whole.drop_columns([name])
    kind = whole.schema.field(name).type if change == "nothing in" else pa.binary()
    values = pa.nulls(len(whole), kind) if change == "nothing in" else pa.array([b"x"] * len(whole))
    return whole.set_column(whole.column_names.index(name), name, values)


@pytest.mark.parametrize("change", ["without", "nothing in", "another form of"])
def test_a_ledger_that_lacks_a_column_is_shown_without_it(make_run, change):
    """As older versions wrote it. Without what makes a rollout a file is none of a ledger, and no step is there."""
    directory = make_run("hand", 1)
    [path] = directory.glob("ledger/grpo/*.parquet")
    whole, place = pq.read_table(path), {"stage": "grpo", "step": "1"}
    for name in FORM if change == "without" else ("group", "tokens", "mask", "text", "parts", "versions", "entropy"):
        pq.write_table(changed(whole, name, change), path)
        found, is_ledger = answers_of(directory), name not in NEEDED or change == "nothing in"
        said = [found.rollouts(place | {"text": "####", "order": "low:push"})]
        said.append(found.prompt(place | {"example": "train:0"}))
        assert found.choices({})["progress"]["steps"] == is_ledger, name
        if is_ledger and name != "group":
            said.append(found.group(place))
            assert said[-1]["members"] == 2
        else:
            with pytest.raises(UserError, match=r"no stage|is not in the ledger|has no group 0"):
                found.group(place)
        assert json.dumps(said, allow_nan=False)


def test_a_run_without_a_step_finds_nothing(tmp_path):
    found = answers_of(tmp_path).rollouts({"text": "7", "order": "high:kl"})
    assert (found["rows"], found["total"]) == ([], 0)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"model": 3}'])
def test_a_damaged_tokenizer_is_none(make_run, text):
    directory = make_run()
    [path] = directory.glob("models/*/tokenizer.json")
    path.write_text(text)
    assert answers_of(directory).group({"stage": "grpo"})["rollouts"][0]["pieces"] == [
        "#1 ",
        "#5 ",
        "#9 ",
        "#1 ",
        "#0 ",
    ]


def test_a_directory_in_the_place_of_a_file_of_rows_is_no_rows(make_run):
    directory = make_run()
    (directory / "metrics.jsonl").unlink()
    (directory / "metrics.jsonl").mkdir()
    assert RunFiles(directory).rows() == []
