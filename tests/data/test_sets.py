import hashlib
from pathlib import Path

import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.sets import SETS, Arrays, data_folder, digests, set_spec, verify_arrays
from tests.data.files import images, labels


def arrays(shape=(1, 28, 28), *, counts=(6, 4)):
    return Arrays(
        images(counts[0], shape), labels(counts[0]), images(counts[1], shape), labels(counts[1])
    )


def test_sets__are_complete():
    assert list(SETS) == ["digits", "mnist", "fashion-mnist", "cifar10"]
    sums = [text for spec in SETS.values() for text in spec.sha256]
    assert len(set(sums)) == 16
    assert all(len(bytes.fromhex(text)) == 32 for text in sums)
    assert all(len(set(spec.classes)) == 10 for spec in SETS.values())
    assert [sum(spec.counts) for spec in SETS.values()] == [1797, 70_000, 70_000, 60_000]


def test_digests__are_of_the_bytes_in_order():
    a = arrays()
    turned = a._replace(train=np.ascontiguousarray(a.train.mT).mT)  # same values, other memory
    assert digests(a)[0] == hashlib.sha256(a.train.tobytes()).hexdigest()
    assert digests(turned) == digests(a)


def test_verify__accepts_the_official_contents_only(official):
    a = official("mnist", arrays())
    verify_arrays(a, SETS["mnist"], "here")
    changed = a.test_label.copy()
    changed[2] += 1
    with pytest.raises(DataFormatError, match="here: not the official mnist: test labels have SHA"):
        verify_arrays(a._replace(test_label=changed), SETS["mnist"], "here")
    pixels = a.train.copy()
    pixels[0, 0, 0, 0] ^= 1
    with pytest.raises(DataFormatError) as caught:
        verify_arrays(a._replace(train=pixels), SETS["mnist"], "here")
    assert SETS["mnist"].sha256[0] in str(caught.value)  # what is allowed
    assert hashlib.sha256(pixels.tobytes()).hexdigest() in str(caught.value)  # what was found
    assert "labels" not in str(caught.value)


def test_verify__tells_swapped_sets_apart(official):
    official("fashion-mnist", arrays())
    with pytest.raises(DataFormatError, match="these are the files of fashion-mnist, not mnist"):
        verify_arrays(arrays(), SETS["mnist"], "here")


@pytest.mark.parametrize(
    ("counts", "words"),
    [((6, 5), "here: 5 test images, mnist has 4"), ((7, 4), "7 training images, mnist has 6")],
)
def test_verify__names_counts(counts, words, official):
    official("mnist", arrays())
    with pytest.raises(DataFormatError, match=words):
        verify_arrays(arrays(counts=counts), SETS["mnist"], "here")


def test_spec__unknown_name_lists_the_known():
    with pytest.raises(DataFormatError, match=r"must be one of digits, mnist.*; got 'svhn'"):
        set_spec("svhn")


def test_folder__named_then_variable_then_cache(monkeypatch, tmp_path):
    assert data_folder() == tmp_path / "home" / ".cache" / "isac_gym"
    monkeypatch.setenv("ISAC_DATA", "~/sets")
    assert data_folder() == tmp_path / "home" / "sets"
    assert data_folder("here") == Path("here")
