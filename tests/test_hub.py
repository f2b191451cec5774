"""The hub is asked once and quickly, it is said, and what was fetched earlier does without."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from groupwise import hub
from groupwise.errors import UserError

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
