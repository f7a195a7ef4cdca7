import json
import pickle

import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data import cifar
from isac_gym.data.sets import SETS
from tests.data.files import (
    images,
    labels,
    png_bytes,
    python_2_batch,
    write_batches,
    write_sheets,
)

SPEC = SETS["cifar10"]
DATA = images(2, (3072,))
WRITERS = {
    "as Python 2 did": python_2_batch,
    "protocol 2": lambda x, y: pickle.dumps({"data": x, "labels": y.tolist()}, protocol=2),
    "protocol 4": lambda x, y: pickle.dumps({b"data": x, b"labels": y.tolist()}, protocol=4),
    "protocol 5": lambda x, y: pickle.dumps({"data": x, "labels": y.tolist()}, protocol=5),
    "columns first": lambda x, y: pickle.dumps(
        {"data": np.asfortranarray(x), "labels": y.tolist()}, protocol=4
    ),
}


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize("writer", WRITERS)
def test_batches__read(writer, tmp_path):
    expected = write_batches(tmp_path, WRITERS[writer])
    found = cifar.read_folder(tmp_path, SPEC)
    assert cifar.holds(tmp_path)
    assert same(found, expected)
    assert found.train.shape == (10, 3, 32, 32)


@pytest.mark.parametrize("spelling", ["lables", "labels"])
def test_sheets__read(spelling, tmp_path):
    expected = write_sheets(tmp_path, spelling=spelling)
    assert cifar.holds(tmp_path)
    assert same(cifar.read_folder(tmp_path, SPEC), expected)


def test_folder__written_for_any_unpickler(tmp_path):
    expected = write_sheets(tmp_path)
    (tmp_path / "new").mkdir()
    cifar.write_folder(tmp_path / "new", cifar.read_folder(tmp_path, SPEC))
    assert same(cifar.read_folder(tmp_path / "new", SPEC), expected)
    batch = pickle.loads((tmp_path / "new" / "data_batch_2").read_bytes())
    assert batch[b"labels"] == expected[1][2:4].tolist()
    assert np.array_equal(batch[b"data"], expected[0][2:4].reshape(2, 3072))


def test_folder__empty_holds_nothing(tmp_path):
    assert not cifar.holds(tmp_path)


BAD_BATCHES = {
    "empty": (b"", "not a CIFAR-10 batch"),
    "cut": (pickle.dumps({"data": DATA, "labels": [1, 2]})[:-100], "not a CIFAR-10 batch"),
    "noise": (bytes(range(256)), "not a CIFAR-10 batch"),
    "a list": (pickle.dumps([1]), "a list, allowed is a dictionary"),
    "no labels": (pickle.dumps({"data": DATA}), "holds data; a batch holds data and labels"),
    "CIFAR-100": (
        pickle.dumps({"data": DATA, "fine_labels": [1, 2]}),
        "holds data, fine_labels; a batch",
    ),
    "other width": (
        pickle.dumps({"data": images(2, (3000,)), "labels": [1, 2]}),
        "data is 2 x 3000, allowed is n x 3072 uint8",
    ),
    "no array": (pickle.dumps({"data": "x", "labels": [1, 2]}), "data is str"),
    "floats": (
        pickle.dumps({"data": DATA.astype(float), "labels": [1, 2]}),
        "an array of type 'f8', allowed is uint8",
    ),
    "objects": (pickle.dumps({"data": np.array([None]), "labels": [1]}), "of type 'O8'"),
    "too few labels": (pickle.dumps({"data": DATA, "labels": [1]}), "1 labels for 2 images"),
    "label range": (
        pickle.dumps({"data": DATA, "labels": [1, 10]}),
        "label 10, allowed are 0 to 9",
    ),
    "negative label": (pickle.dumps({"data": DATA, "labels": [1, -1]}), "label -1"),
    "label kind": (pickle.dumps({"data": DATA, "labels": [1, 2.0]}), "a list of integers"),
    "no images": (pickle.dumps({"data": DATA[:0], "labels": []}), "0 labels for 0 images"),
}


@pytest.mark.parametrize("case", BAD_BATCHES)
def test_batch__damage_is_named(case, tmp_path):
    content, words = BAD_BATCHES[case]
    write_batches(tmp_path)
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(DataFormatError) as caught:
        cifar.read_folder(tmp_path, SPEC)
    assert str(tmp_path / "data_batch_3") in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch"])
@pytest.mark.parametrize(("write", "end"), [(write_batches, ""), (write_sheets, ".png")])
def test_folder__missing_file_is_named(write, end, name, tmp_path):
    write(tmp_path)
    (tmp_path / f"{name}{end}").unlink()
    with pytest.raises(DataFormatError, match="no such file; a set has data_batch_1") as caught:
        cifar.read_folder(tmp_path, SPEC)
    assert str(tmp_path / f"{name}{end}") in str(caught.value)


def test_file__that_is_far_too_large_is_not_read(tmp_path):
    write_batches(tmp_path)
    with (tmp_path / "test_batch").open("wb") as file:
        file.truncate(1 << 29)  # sparse
    with pytest.raises(DataFormatError, match="536870912 bytes, at most"):
        cifar.read_folder(tmp_path, SPEC)


SHEET = images(2, (1024, 3))
BAD_SHEETS = {
    "not a PNG": (b"GIF89a", "damaged or not a PNG"),
    "cut": (png_bytes(SHEET)[:-40], "damaged or not a PNG"),
    "flipped bit": (png_bytes(SHEET)[:60] + b"\xff\x00" + png_bytes(SHEET)[62:], "damaged or not"),
    "grey": (png_bytes(images(2, (1024,)), colour=0), "L of width 1024, allowed is RGB of 1024"),
    "with alpha": (png_bytes(images(2, (1024, 4)), colour=6), "RGBA of width 1024"),
    "other width": (png_bytes(images(2, (1000, 3))), "RGB of width 1000"),
}


@pytest.mark.parametrize("case", BAD_SHEETS)
def test_sheet__damage_is_named(case, tmp_path):
    content, words = BAD_SHEETS[case]
    write_sheets(tmp_path)
    (tmp_path / "data_batch_4.png").write_bytes(content)
    with pytest.raises(DataFormatError) as caught:
        cifar.read_folder(tmp_path, SPEC)
    assert str(tmp_path / "data_batch_4.png") in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("[1, 2", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("\xff", "not JSON"),
        (json.dumps({"labels": [1]}), "a list of integers"),
        (json.dumps(["1"] * 10), "a list of integers"),
        (json.dumps([True] * 10), "a list of integers"),
        (json.dumps([11] * 10), "label 11, allowed are 0 to 9"),
        (json.dumps(labels(9).tolist()), "9 labels for 10 images"),
    ],
)
def test_label_file__damage_is_named(content, words, tmp_path):
    write_sheets(tmp_path)
    (tmp_path / "train_lables.json").write_bytes(content.encode("latin1"))
    with pytest.raises(DataFormatError) as caught:
        cifar.read_folder(tmp_path, SPEC)
    assert f"{tmp_path / 'train_lables.json'}: " in str(caught.value)
    assert words in str(caught.value)


def test_label_file__missing_is_named(tmp_path):
    write_sheets(tmp_path)
    (tmp_path / "test_lables.json").unlink()
    with pytest.raises(DataFormatError, match=r"test_lables\.json: no such file"):
        cifar.read_folder(tmp_path, SPEC)
