import os

import pytest

from isac_gym.core.errors import DataFormatError, DataSourceError
from isac_gym.data import fetch as module
from isac_gym.data.fetch import fetch
from isac_gym.data.images import load_images
from isac_gym.data.sets import SETS
from isac_gym.data.sources import Source
from tests.data.files import write_batches, write_idx


def giving(arrays, name="good"):
    return Source(name, f"the {name} source", lambda spec, folder, report: arrays)


def failing(error, name="bad"):
    def get(spec, folder, report):
        (folder / "half").write_bytes(b"half a download")
        raise error

    return Source(name, f"the {name} source", get)


def everything(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_fetch__puts_the_standard_layout(tmp_path, tiny_mnist):
    root, seen = tmp_path / "new" / "root", []
    place, origin = fetch(
        "mnist", root, sources=[giving(tiny_mnist)], report=lambda *s: seen.append(s)
    )
    assert (place, origin) == (root / "MNIST" / "raw", "the good source")
    assert everything(root) == [
        "MNIST",
        "MNIST/raw",
        "MNIST/raw/t10k-images-idx3-ubyte",
        "MNIST/raw/t10k-labels-idx1-ubyte",
        "MNIST/raw/train-images-idx3-ubyte",
        "MNIST/raw/train-labels-idx1-ubyte",
    ]
    assert len(load_images("mnist", root).train) == 6
    assert ("verifying", 0, 0) in seen


def test_fetch__cifar_becomes_python_batches(tmp_path, official):
    arrays = official("cifar10", write_batches(tmp_path / "files"))
    place, _ = fetch("cifar10", tmp_path / "root", sources=[giving(arrays)])
    assert place == tmp_path / "root" / "cifar-10-batches-py"
    assert len(everything(place)) == 6
    assert load_images("cifar10", tmp_path / "root").train.shape == (10, 3, 32, 32)


def test_fetch__the_default_folder(tmp_path, tiny_mnist, monkeypatch):
    monkeypatch.setenv("ISAC_DATA", str(tmp_path / "here"))
    assert fetch("mnist", sources=[giving(tiny_mnist)])[0] == tmp_path / "here" / "MNIST" / "raw"


@pytest.mark.parametrize("where", ["MNIST/raw", "mnist", "."])
def test_fetch__asks_nobody_if_the_set_is_there(where, tmp_path, official):
    official("mnist", write_idx(tmp_path / "root" / where))
    source = failing(AssertionError("asked"))
    place, origin = fetch("mnist", tmp_path / "root", sources=[source])
    assert (place, origin) == (tmp_path / "root" / where, "already there")


ERRORS = [
    OSError("no such host"),
    ValueError("odd"),
    RuntimeError("odd"),
    EOFError("odd"),
    DataFormatError("odd"),
    MemoryError(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
def test_failing_source__leaves_nothing_and_the_next_is_asked(error, tmp_path, tiny_mnist):
    root = tmp_path / "root"
    sources = [failing(error), giving(tiny_mnist)]
    place, origin = fetch("mnist", root, sources=sources)
    assert origin == "the good source"
    assert len(everything(root)) == 6
    assert place.is_dir()


def test_no_source__gives_every_reason_and_leaves_nothing(tmp_path, tiny_mnist):
    root = tmp_path / "a" / "b"
    sources = [failing(OSError("no such host"), "first"), failing(MemoryError(), "second")]
    with pytest.raises(DataSourceError) as caught:
        fetch("mnist", root, sources=sources)
    assert str(caught.value).splitlines() == [
        "mnist: no source worked.",
        "the first source: no such host",
        "the second source: MemoryError",
    ]
    assert not (tmp_path / "a").exists()


def test_no_source__leaves_what_was_there(tmp_path, tiny_mnist):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "mine").write_text("mine")
    with pytest.raises(DataSourceError):
        fetch("mnist", tmp_path / "root", sources=[failing(OSError("x"))])
    assert everything(tmp_path / "root") == ["mine"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), AssertionError("a mistake of ours")])
def test_interrupt__leaves_nothing(error, tmp_path, tiny_mnist):
    with pytest.raises(type(error)):
        fetch("mnist", tmp_path / "root", sources=[failing(error)])
    assert not (tmp_path / "root").exists()


def test_wrong_contents__are_refused(tmp_path, tiny_mnist):
    wrong = tiny_mnist._replace(train=tiny_mnist.train[::-1])
    with pytest.raises(DataSourceError, match="not the official mnist: training images have SHA"):
        fetch("mnist", tmp_path / "root", sources=[giving(wrong)])
    assert not (tmp_path / "root").exists()


def test_disk__that_keeps_something_else_is_noticed(tmp_path, tiny_mnist, monkeypatch):
    write = module.reader_of(SETS["mnist"]).write_folder

    def write_and_cut(folder, arrays):
        write(folder, arrays)
        os.truncate(folder / "t10k-images-idx3-ubyte", 100)

    monkeypatch.setattr(module.reader_of(SETS["mnist"]), "write_folder", write_and_cut)
    with pytest.raises(DataSourceError, match="84 bytes of data, the header says 3136"):
        fetch("mnist", tmp_path / "root", sources=[giving(tiny_mnist)])
    assert not (tmp_path / "root").exists()


def damage(folder):
    write_idx(folder)
    (folder / "train-labels-idx1-ubyte").write_bytes(b"damaged")
    (folder / "note").write_text("mine")


def test_damaged_files__are_kept_unless_the_caller_gives_them_up(tmp_path, tiny_mnist):
    target = tmp_path / "root" / "MNIST" / "raw"
    damage(target)
    before = everything(tmp_path / "root")
    with pytest.raises(DataFormatError, match="--replace") as caught:
        fetch("mnist", tmp_path / "root", sources=[giving(tiny_mnist)])
    assert str(target) in str(caught.value)
    with pytest.raises(DataSourceError):
        fetch("mnist", tmp_path / "root", sources=[failing(OSError("x"))], replace=True)
    assert everything(tmp_path / "root") == before
    fetch("mnist", tmp_path / "root", sources=[giving(tiny_mnist)], replace=True)
    assert len(everything(target)) == 4
    assert everything(tmp_path / "root")[0] == "MNIST"
    assert len(load_images("mnist", tmp_path / "root").train) == 6


def test_rename__that_fails_restores_the_old_files(tmp_path, tiny_mnist, monkeypatch):
    target = tmp_path / "root" / "MNIST" / "raw"
    damage(target)
    before = everything(tmp_path / "root")
    rename = module.Path.rename

    def refuse(self, to):
        if self.name == "ready":
            raise OSError("disk is gone")
        return rename(self, to)

    monkeypatch.setattr(module.Path, "rename", refuse)
    with pytest.raises(OSError, match="disk is gone"):
        fetch("mnist", tmp_path / "root", sources=[giving(tiny_mnist)], replace=True)
    assert everything(tmp_path / "root") == before


def test_two_at_once__both_succeed(tmp_path, tiny_mnist):
    root = tmp_path / "root"

    def get(spec, folder, report):
        if not (root / "MNIST" / "raw").exists():
            fetch("mnist", root, sources=[giving(tiny_mnist)])  # somebody else, meanwhile
        return tiny_mnist

    place, _ = fetch("mnist", root, sources=[Source("slow", "slow", get)])
    assert len(everything(place)) == 4
    assert len(everything(root)) == 6


def test_leftovers__of_a_killed_fetch_go_after_a_day(tmp_path, tiny_mnist):
    parent = tmp_path / "root" / "MNIST"
    for name, age in ((".mnist-old", 2 * 86_400), (".mnist-new", 60)):
        (parent / name).mkdir(parents=True)
        (parent / name / "half").write_bytes(b"x")
        stamp = (parent / name).stat().st_mtime - age
        os.utime(parent / name, (stamp, stamp))
    fetch("mnist", tmp_path / "root", sources=[giving(tiny_mnist)])
    assert {path.name for path in parent.iterdir()} == {"raw", ".mnist-new"}


@pytest.mark.parametrize("name", ["digits", "svhn"])
def test_names__that_cannot_be_fetched(name, tmp_path):
    with pytest.raises(DataFormatError, match=f"mnist, fashion-mnist, cifar10; got '{name}'"):
        fetch(name, tmp_path)
