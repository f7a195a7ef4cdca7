import gzip
import shutil

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from isac_gym.core.errors import DataFormatError
from isac_gym.data.images import find_folder, load_images
from isac_gym.data.sets import SETS
from tests.data.files import write_batches, write_idx, write_sheets


def test_digits__need_no_files_and_are_always_the_same():
    a, b = load_images("digits"), load_images("digits")
    assert a.train.shape == (1437, 1, 8, 8)
    assert a.test.shape == (360, 1, 8, 8)
    assert a.train.dtype == torch.uint8
    assert a.train_label.dtype == torch.int64
    assert a.checksum == b.checksum
    assert torch.equal(a.train, b.train)
    assert (a.peak, int(a.train.max())) == (16, 16)
    assert a.shape == (1, 8, 8)


def test_digits__split_has_every_image_once_with_its_label():
    found, source = load_images("digits"), load_digits()
    pixels = torch.cat([found.train, found.test]).reshape(1797, 64).numpy().astype(int)
    label = torch.cat([found.train_label, found.test_label]).numpy()
    rows = np.column_stack([pixels, label])
    expected = np.column_stack([source.data.astype(int), source.target])
    assert np.array_equal(rows[np.lexsort(rows.T)], expected[np.lexsort(expected.T)])
    assert not np.array_equal(rows, expected)  # shuffled


def test_digits__every_class_is_in_both_parts():
    found = load_images("digits")
    assert found.train_label.bincount().min() >= 130
    assert found.test_label.bincount().min() >= 20


LAYOUTS = {
    "mnist": ("MNIST/raw", "mnist", ""),
    "fashion-mnist": ("FashionMNIST/raw", "fashion-mnist", ""),
    "cifar10": ("cifar-10-batches-py", "cifar10", ""),
}
CASES = [(name, place) for name, places in LAYOUTS.items() for place in places]


@pytest.mark.parametrize(("name", "place"), CASES)
def test_layouts__are_found(name, place, tmp_path, official):
    write = write_batches if name == "cifar10" else write_idx
    expected = official(name, write(tmp_path / place))
    found = load_images(name, tmp_path)
    assert find_folder(SETS[name], tmp_path) == tmp_path / place
    assert found.name == name
    assert torch.equal(found.train, torch.tensor(expected.train))
    assert torch.equal(found.test_label, torch.tensor(expected.test_label).long())
    assert found.classes == SETS[name].classes
    assert found.peak == 255


def test_formats__give_the_same_checksum(tmp_path, official):
    official("cifar10", write_batches(tmp_path / "a"))
    write_sheets(tmp_path / "b")
    assert load_images("cifar10", tmp_path / "a").checksum == (
        load_images("cifar10", str(tmp_path / "b")).checksum
    )
    official("mnist", write_idx(tmp_path / "raw"))
    write_idx(tmp_path / "gz", change=gzip.compress, name="{}.gz".format)
    raw, zipped = (load_images("mnist", tmp_path / kind) for kind in ("raw", "gz"))
    assert raw.checksum == zipped.checksum


def test_variable__names_the_folder(tmp_path, tiny_mnist, monkeypatch):
    monkeypatch.setenv("ISAC_DATA", str(tmp_path / "tiny"))
    assert len(load_images("mnist").train) == len(tiny_mnist.train)


@pytest.mark.parametrize("name", LAYOUTS)
def test_missing__says_where_it_looked_and_what_to_do(name, tmp_path):
    with pytest.raises(DataFormatError, match=f"isac data fetch {name}") as caught:
        load_images(name, tmp_path)
    for place in LAYOUTS[name]:
        assert str(tmp_path / place) in str(caught.value)


def test_other_contents__need_the_callers_word(tmp_path):
    write_idx(tmp_path)
    with pytest.raises(DataFormatError, match=r"6 training images.*need verify=False"):
        load_images("mnist", tmp_path)
    assert len(load_images("mnist", tmp_path, verify=False).train) == 6


def test_one_flipped_bit__is_found(tmp_path, tiny_mnist):
    path = tmp_path / "tiny" / "train-images-idx3-ubyte"
    content = bytearray(path.read_bytes())
    content[1000] ^= 4
    path.write_bytes(content)
    with pytest.raises(DataFormatError, match="not the official mnist: training images have"):
        load_images("mnist", tmp_path / "tiny")


def test_first_layout__is_read_even_if_a_later_one_is_whole(tmp_path, tiny_mnist):
    shutil.copytree(tmp_path / "tiny", tmp_path / "mnist")
    (tmp_path / "MNIST" / "raw").mkdir(parents=True)
    (tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(DataFormatError, match="MNIST/raw"):
        load_images("mnist", tmp_path)


def test_unknown__is_refused():
    with pytest.raises(DataFormatError, match="got 'imagenet'"):
        load_images("imagenet")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scaled__is_in_the_unit_interval(dtype):
    found = load_images("digits")
    value = found.scaled(found.train, dtype=dtype)
    assert value.dtype == dtype
    assert (value.min(), value.max()) == (0, 1)
    assert torch.equal((value * 16).to(torch.uint8), found.train)


def test_normalised__has_no_mean_and_unit_spread_per_channel(tmp_path):
    write_batches(tmp_path, each=4)
    found = load_images("cifar10", tmp_path, verify=False)
    value = found.normalised(found.train, dtype=torch.float64)
    pixels = found.train.double()
    assert torch.allclose(found.statistics[0], pixels.mean((0, 2, 3)))
    assert torch.allclose(value.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(value.var((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64))
    stacked = found.train[:6].reshape(2, 3, 3, 32, 32)
    assert torch.equal(found.normalised(stacked)[1, 2], found.normalised(found.train[5]))


def test_tensors__belong_to_the_caller():
    a, b = load_images("digits"), load_images("digits")
    a.train.zero_()
    assert b.train.any()
    assert load_images("digits").train.any()
