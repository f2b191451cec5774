"""A reward's file may import what lies beside it, wherever the import stands, in this process and in its own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from groupwise.errors import UserError
from groupwise.rewards.named import by_name
from groupwise.types import Rollout

Make = Callable[..., Rollout]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    path = list(sys.path)
    yield
    sys.path[:] = path


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def value(spec: str, rollout: Make) -> float | None:
    (score,) = by_name(spec).score([rollout()])
    assert score.status == "scored", score.reason
    return score.value


def test_a_neighbour_at_the_top_and_inside(tmp_path: Path, rollout: Make) -> None:
    write(
        tmp_path,
        helper="L = 3.0\n",
        late="L = 4.0\n",
        rwd="from helper import L\ndef top(completion): return L\n"
        "def inside(completion):\n    from late import L\n    return L\n"
        "def both(completion):\n    import helper\n    helper.L += 1\n    return helper.L + L\n",
    )
    assert value(f"{tmp_path}/rwd.py:top", rollout) == 3.0
    assert value(f"{tmp_path}/rwd.py:inside", rollout) == 4.0
    assert value(f"{tmp_path}/rwd.py:both", rollout) == 7.0
    assert "helper" not in sys.modules


def test_two_files_have_each_their_own_neighbour_of_one_name(tmp_path: Path, rollout: Make) -> None:
    text = (
        "import helper\nfrom pack.part import M\ndef top(completion): return helper.L + M\n"
        "def inside(completion):\n    import helper, other\n    return helper.L + other.K\n"
    )
    specs = []
    for number in (1, 2):
        folder = write(tmp_path / str(number), helper=f"L = {number}\n", other=f"K = {number * 10}\n", rwd=text)
        write(folder / "pack", __init__="", part=f"M = {number * 100}\n")
        specs.append(f"{folder}/rwd.py")
    rewards = {(spec, name): by_name(f"{spec}:{name}") for spec in specs for name in ("top", "inside")}
    found = {key: reward.score([rollout()])[0].value for key, reward in rewards.items()}
    assert [found[spec, "top"] for spec in specs] == [101.0, 202.0]
    assert [found[spec, "inside"] for spec in specs] == [11.0, 22.0]
    assert [found[spec, "inside"] for spec in specs] == [value(f"{spec}:inside", rollout) for spec in specs]


def test_a_neighbour_takes_no_installed_module_s_place(tmp_path: Path, rollout: Make) -> None:
    write(
        tmp_path,
        json="raise RuntimeError\n",
        colorsys="raise RuntimeError\n",
        torch="raise RuntimeError\n",
        rwd="import json, colorsys, torch\ndef f(completion): return torch.tensor(json.loads('2'))\n",
    )
    assert value(f"{tmp_path}/rwd.py:f", rollout) == 2.0


def test_a_function_that_the_file_has_from_its_neighbour(tmp_path: Path, rollout: Make) -> None:
    write(
        tmp_path,
        late="L = 5\n",
        helper="def f(completion):\n    import late\n    return late.L\n"
        "class Scale:\n    def __call__(self, completion):\n        import late\n        return late.L\n"
        "    def method(self, completion):\n        return self(completion)\n",
        rwd="from functools import partial\nfrom helper import f, Scale\nscale = Scale()\nmethod = scale.method\n"
        "def two(completion, factor): return f(completion) * factor\ndouble = partial(two, factor=2)\n",
    )
    for name, expected in (("f", 5), ("scale", 5), ("method", 5), ("double", 10)):
        assert value(f"{tmp_path}/rwd.py:{name}", rollout) == expected, name


def test_a_file_in_a_folder_of_installed_modules_leaves_them_alone(tmp_path: Path, rollout: Make) -> None:
    """An environment often lies in the folder of the project."""
    write(tmp_path / "lib", far="X = 1\n")
    sys.path.append(str(tmp_path / "lib"))
    write(tmp_path, rwd="import far\ndef f(completion): return far.X\n")
    assert value(f"{tmp_path}/rwd.py:f", rollout) == 1.0
    assert sys.modules.pop("far").X == 1


def test_an_object_with_a_score_may_import_late(tmp_path: Path, rollout: Make) -> None:
    write(
        tmp_path,
        late_one="L = 6.0\n",
        rwd="from groupwise.types import Score\nclass R:\n    name, weight = 'r', 1.0\n    def score(self, rollouts):\n"
        "        import late_one\n        return [Score(late_one.L) for _ in rollouts]\nr = R()\n",
    )
    assert value(f"{tmp_path}/rwd.py:r", rollout) == 6.0


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    write(tmp_path, rwd="import no_such_neighbour\ndef f(completion): return 1\n")
    with pytest.raises(UserError, match=r"ModuleNotFoundError: No module named 'no_such_neighbour'"):
        by_name(f"{tmp_path}/rwd.py:f")
