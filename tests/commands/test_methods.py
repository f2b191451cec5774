"""``groupwise methods`` and the lookup by name."""

from __future__ import annotations

import pytest

from groupwise import recipes
from groupwise.cli import main
from groupwise.commands.methods import canonical, method, names
from groupwise.errors import UserError


def test_the_table_has_a_line_for_each(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names() == list(recipes.__all__)
    assert any(line.startswith("grpo") and "DeepSeekMath" in line for line in lines)


def test_a_name_gives_the_recipe():
    assert method("grpo") is recipes.grpo


@pytest.mark.parametrize(("name", "hint"), [("grop", "perhaps you meant grpo"), ("qqq", "there are ")])
def test_an_unknown_name(name, hint):
    with pytest.raises(UserError, match=hint):
        method(name)


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Dr. GRPO", "dr_grpo"),
        ("REINFORCE++", "reinforce_plus_plus"),
        ("REINFORCE++-baseline", "reinforce_plus_plus_baseline"),
        ("reinforce_pp", "reinforce_plus_plus"),
        ("GSPO-token", "gspo_token"),
        ("DeepSeek-V3.2", "deepseek_v3_2"),
        ("DAPO", "dapo"),
    ],
)
def test_a_paper_s_spelling(spelling, name):
    assert canonical(spelling) == name
    assert method(spelling) is vars(recipes)[name]


def test_no_two_methods_are_spelt_alike():
    assert [canonical(name) for name in names()] == names()
