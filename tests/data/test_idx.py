import gzip
import struct

import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data import idx
from isac_gym.data.sets import SETS
from tests.data.files import idx_bytes, images, labels, write_idx

SPEC = SETS["mnist"]
FIRST = "train-images-idx3-ubyte"
LABEL = "train-labels-idx1-ubyte"


@pytest.mark.parametrize("dot", [False, True])
@pytest.mark.parametrize("compressed", [False, True])
def test_folder__is_read_under_every_spelling(dot, compressed, tmp_path):
    def name(text):
        text = text.replace("-idx", ".idx") if dot else text
        return text + ".gz" if compressed else text

    expected = write_idx(tmp_path, change=gzip.compress if compressed else bytes, name=name)
    found = idx.read_folder(tmp_path, SPEC)
    assert idx.holds(tmp_path)
    for a, b in zip(found, expected, strict=True):
        assert a.dtype == np.uint8
        assert np.array_equal(a, b)
    assert found.train.shape == (6, 1, 28, 28)


def test_folder__raw_goes_before_gzip(tmp_path):
    write_idx(tmp_path)
    (tmp_path / f"{FIRST}.gz").write_bytes(b"not read")
    assert len(idx.read_folder(tmp_path, SPEC).train) == 6


def test_folder__written_as_the_format_says(tmp_path):
    expected = write_idx(tmp_path / "a")
    (tmp_path / "b").mkdir()
    idx.write_folder(tmp_path / "b", idx.read_folder(tmp_path / "a", SPEC))
    names = sorted(path.name for path in (tmp_path / "b").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "a").iterdir())
    assert all(
        (tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names
    )
    assert len(expected) == 4


def test_array__compressed_on_request(tmp_path):
    idx.write_array(tmp_path / "a.gz", labels(5))
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == idx_bytes(labels(5))
    assert np.array_equal(idx.read_array(tmp_path / "a.gz", axes=1), labels(5))


GOOD = idx_bytes(images(6, (28, 28)))
DAMAGED = {
    "empty": (b"", "an empty file, allowed is 00000803"),
    "text": (b"<html>", "magic number 3c68746d"),
    "labels in its place": (idx_bytes(labels(6)), "magic number 00000801, allowed is 00000803"),
    "floats": (idx_bytes(images(6, (28, 28)), bytes((0, 0, 13, 3))), "magic number 00000d03"),
    "header cut": (GOOD[:10], "10 bytes of header, must be 16"),
    "one byte short": (GOOD[:-1], "4703 bytes of data, the header says 4704 (6 x 28 x 28)"),
    "one byte long": (GOOD + b"\0", "more bytes of data, the header says 4704"),
    "no image": (idx_bytes(images(0, (28, 28))), "0 items, allowed are 1 to"),
    "absurd count": (
        bytes((0, 0, 8, 3)) + struct.pack(">III", 2**31, 28, 28) + GOOD[16:],
        "2147483648 items",
    ),
    "absurd side": (
        bytes((0, 0, 8, 3)) + struct.pack(">III", 1, 2**31, 28) + GOOD[16:],
        "images of 2147483648 x 28, at most 1024 a side",
    ),
    "claims far more than there is": (
        bytes((0, 0, 8, 3)) + struct.pack(">III", 10**6, 1024, 1024) + GOOD[16:],
        "4704 bytes of data",
    ),
    "other size": (idx_bytes(images(6, (14, 14))), "images of 14 x 14 pixels, allowed is 28 x 28"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_images__damage_is_named(case, tmp_path):
    content, words = DAMAGED[case]
    write_idx(tmp_path)
    (tmp_path / FIRST).write_bytes(content)
    with pytest.raises(DataFormatError) as caught:
        idx.read_folder(tmp_path, SPEC)
    assert str(tmp_path / FIRST) in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (idx_bytes(labels(5)), "5 labels for the 6 images of train-images-idx3-ubyte"),
        (idx_bytes(np.full(6, 10, np.uint8)), "label 10, allowed are 0 to 9"),
        (idx_bytes(labels(6))[:-2], "4 bytes of data, the header says 6"),
    ],
)
def test_labels__damage_is_named(content, words, tmp_path):
    write_idx(tmp_path)
    (tmp_path / LABEL).write_bytes(content)
    with pytest.raises(DataFormatError) as caught:
        idx.read_folder(tmp_path, SPEC)
    assert f"{tmp_path / LABEL}: {words}" in str(caught.value)


@pytest.mark.parametrize("damage", ["cut", "flipped", "not gzip"])
def test_gzip__damage_is_named(damage, tmp_path):
    write_idx(tmp_path, change=gzip.compress, name="{}.gz".format)
    path = tmp_path / f"{FIRST}.gz"
    content = path.read_bytes()
    flipped = bytes((content[-8] ^ 1,))
    path.write_bytes(
        {"cut": content[:-20], "flipped": content[:-8] + flipped + content[-7:], "not gzip": GOOD}[
            damage
        ]
    )
    with pytest.raises(DataFormatError, match="damaged or unreadable") as caught:
        idx.read_folder(tmp_path, SPEC)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", [FIRST, LABEL, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_folder__missing_file_is_named_with_its_spellings(name, tmp_path):
    write_idx(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataFormatError, match="no such file; allowed are") as caught:
        idx.read_folder(tmp_path, SPEC)
    assert str(tmp_path / name) in str(caught.value)
    assert f"{name}.gz" in str(caught.value)


def test_folder__without_files_holds_nothing(tmp_path):
    (tmp_path / FIRST).mkdir()
    assert not idx.holds(tmp_path)
    assert not idx.holds(tmp_path / "missing")
