"""The hub is asked once and quickly, it is said, and what was fetched earlier does without."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from groupwise.errors import UserError
from groupwise.storage import hub
from groupwise.tasks.files import read_rows

huggingface_hub = pytest.importorskip("huggingface_hub")


class Client:
    """Answers with a status, or raises."""

    def __init__(self, said: int | Exception) -> None:
        self.said, self.asked = said, list[str]()

    def get(self, address: str, **options: Any) -> Any:
        self.asked.append(address)
        assert options["timeout"] <= 10
        if isinstance(self.said, Exception):
            raise self.said
        return SimpleNamespace(status_code=self.said)


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    hub.answers.cache_clear()
    yield
    hub.answers.cache_clear()


def client(monkeypatch: pytest.MonkeyPatch, said: int | Exception, kept: str | None = None) -> Client:
    made = Client(said)
    monkeypatch.setattr(huggingface_hub.utils, "get_session", lambda: made)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *names, **options: kept)
    return made


def test_it_is_asked_once_and_that_is_said(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    made = client(monkeypatch, 200)
    assert hub.answers("org/model", "models")
    assert hub.answers("org/model", "models")
    assert [address.rpartition("/api/")[2] for address in made.asked] == ["models/org/model"]
    assert capsys.readouterr().err == "asking the hub for org/model\n"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_name_that_it_does_not_have(monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    client(monkeypatch, status)
    with pytest.raises(UserError, match=rf"nope/dir: no directory here, and the hub has no model .*{status}"):
        hub.answers("nope/dir", "models")


@pytest.mark.parametrize("said", [ConnectionError("no net"), 503])
def test_without_it(monkeypatch: pytest.MonkeyPatch, said: int | Exception) -> None:
    made = client(monkeypatch, said)
    with pytest.raises(UserError, match="org/model: no directory here, and the hub "):
        hub.answers("org/model", "models")
    assert len(made.asked) == 1
    client(monkeypatch, said, kept="/kept/config.json")
    assert not hub.answers("org/model", "models")


def test_offline_it_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    made = client(monkeypatch, 200)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        hub.answers("org/model", "models")
    assert made.asked == []


def test_what_can_be_no_name() -> None:
    with pytest.raises(UserError, match="no name that the hub could have"):
        hub.answers("not a name!", "models")


def test_a_data_set_is_asked_for_once_and_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    made = client(monkeypatch, ConnectionError("no net"))
    with pytest.raises(
        UserError, match=r"org/set: no file here, and the hub can't be reached .*; give the path of a file"
    ):
        read_rows("org/set:test")
    assert [address.rpartition("/api/")[2] for address in made.asked] == ["datasets/org/set"]
    assert capsys.readouterr().err == "asking the hub for org/set\n"
    client(monkeypatch, 404)
    hub.answers.cache_clear()
    with pytest.raises(
        UserError, match=r"org/set: no file here, and the hub has no dataset of that name for you \(404\)"
    ):
        read_rows("org/set")


@pytest.mark.parametrize("reached", [True, False])
def test_a_data_set_that_was_fetched_earlier_is_read_without_the_hub(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, reached: bool
) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    (tmp_path / "org___some_set" / "default" / "0.0.0" / "0123").mkdir(parents=True)
    client(monkeypatch, 200 if reached else ConnectionError("no net"))
    offline: list[tuple[bool, bool]] = []

    def load(name: str, config: str | None, split: str) -> list[dict[str, str]]:
        offline.append((datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE))
        return [{"question": name, "answer": split}]

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_rows("org/SomeSet:test") == [("org/SomeSet:test#0", {"question": "org/SomeSet", "answer": "test"})]
    assert offline == [(not reached, not reached)]
    assert (datasets.config.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_OFFLINE) == (False, False)
