"""``groupwise methods`` and the lookup by name."""

from __future__ import annotations

import pytest

from groupwise import recipes
from groupwise.cli import main
from groupwise.commands.methods import method, names
from groupwise.errors import UserError


def test_the_table_has_a_line_for_each(capsys):
    assert main(["methods"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names() == list(recipes.__all__)
    assert any(line.startswith("grpo") and "DeepSeekMath" in line for line in lines)


def test_a_name_gives_the_recipe():
    assert method("grpo") is recipes.grpo


@pytest.mark.parametrize(("name", "hint"), [("gpro", "perhaps you meant grpo"), ("qqq", "there are ")])
def test_an_unknown_name(name, hint):
    with pytest.raises(UserError, match=hint):
        method(name)
