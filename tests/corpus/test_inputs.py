"""What a corpus was built of is compared with what it would be built of now."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from groupwise.corpus.inputs import SETTINGS, refuse_other_inputs
from groupwise.corpus.seeds import Seed
from groupwise.corpus.settings import Corpus
from groupwise.errors import UserError


def test_a_build_that_began_before_a_setting_was_there_goes_on(tmp_path: Path) -> None:
    """It had what the setting's default stands for."""
    corpus, seed = Corpus(), Seed()
    refuse_other_inputs(tmp_path, (), seed, corpus, rebuild=False)
    kept = json.loads((tmp_path / SETTINGS).read_text())
    kept["settings"].pop("minhash.similarity")
    (tmp_path / SETTINGS).write_text(json.dumps(kept))
    other = replace(corpus, minhash=replace(corpus.minhash, similarity=0.9))
    with pytest.raises(UserError, match=r"built otherwise: minhash\.similarity 0\.7, now 0\.9"):
        refuse_other_inputs(tmp_path, (), seed, other, rebuild=False)
    refuse_other_inputs(tmp_path, (), seed, corpus, rebuild=False)
