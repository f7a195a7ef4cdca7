from dataclasses import replace

import pytest

from isac_gym.data.sets import SETS, Arrays, digests
from tests.data import files


@pytest.fixture
def official(monkeypatch):
    """Makes tiny arrays the official contents of a set for one test."""

    def declare(name, arrays):
        arrays = Arrays(*arrays)
        counts = (len(arrays.train), len(arrays.test))
        spec = replace(SETS[name], counts=counts, sha256=digests(arrays))
        monkeypatch.setitem(SETS, name, spec)
        return arrays

    return declare


@pytest.fixture(autouse=True)
def _no_folder_of_the_user(monkeypatch, tmp_path):
    monkeypatch.delenv("ISAC_DATA", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def tiny_mnist(tmp_path, official):
    """Arrays of a tiny official mnist; its files lie in ``tmp_path / "tiny"``."""
    return official("mnist", files.write_idx(tmp_path / "tiny"))
