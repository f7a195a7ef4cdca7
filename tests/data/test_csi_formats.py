import numpy as np
import pytest
import torch

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_formats import FORMATS, detect_format, load_recording
from tests.data.csi_files import (
    atheros_file,
    esp32_file,
    intel_file,
    nexmon_file,
    whole_csi,
    wimans_row,
    write_annotation,
    write_wimans_amp,
)

TRUTH = {
    "intel5300": whole_csi(0, 9, 6, 30, -128, 127),
    "atheros": whole_csi(1, 9, 6, 56, -512, 511),
    "nexmon": whole_csi(2, 9, 1, 64, -999, 999),
    "esp32": whole_csi(3, 9, 1, 64, -128, 127),
}
CONTENT = {
    "intel5300": intel_file(TRUTH["intel5300"]),
    "atheros": atheros_file(TRUTH["atheros"]),
    "nexmon": nexmon_file(TRUTH["nexmon"]),
    "esp32": esp32_file(TRUTH["esp32"]),
}


@pytest.mark.parametrize("kind", CONTENT)
def test_file__is_recognised_by_its_content(kind, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(CONTENT[kind])
    assert detect_format(path) == kind
    for chosen in (None, kind):
        found = load_recording(path, format=chosen, fc=5.2e9)
        assert torch.equal(found.csi[0], torch.from_numpy(TRUTH[kind]))
        assert found.fc == 5.2e9
        assert found.source == str(path)
        assert found.loc is found.sen is None


def test_file__is_cut_into_windows(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(CONTENT["atheros"])
    found = load_recording(path, num_packets=4, hop=2)
    assert found.csi.shape == (3, 4, 6, 56)
    assert found.session.tolist() == [0, 0, 0]
    assert torch.equal(found.csi[1], torch.from_numpy(TRUTH["atheros"][2:6]))
    thin = load_recording(path, every=4)
    assert torch.equal(thin.csi[0], torch.from_numpy(TRUTH["atheros"][[0, 4, 8]]))
    assert thin.fs == pytest.approx(125)


@pytest.mark.parametrize("kind", CONTENT)
@pytest.mark.parametrize("other", CONTENT)
def test_file__of_another_format_is_refused(kind, other, tmp_path):
    if kind == other:
        return
    path = tmp_path / "capture"
    path.write_bytes(CONTENT[other])
    with pytest.raises(DataFormatError) as caught:
        load_recording(path, format=kind, fc=5.2e9)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file; allowed: at least 2 packets"),
        (
            b"PK\x03\x04 something",
            "looks like none of nexmon, esp32, intel5300, atheros (starts with 50",
        ),
    ],
)
def test_file__of_no_format_is_refused(content, words, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(content)
    with pytest.raises(DataFormatError) as caught:
        load_recording(path)
    assert str(caught.value).startswith(f"{path}: {words}")


@pytest.mark.parametrize("kind", CONTENT)
def test_file__one_packet_is_too_few(kind, tmp_path):
    make = {"intel5300": intel_file, "atheros": atheros_file, "nexmon": nexmon_file}
    path = tmp_path / "capture"
    path.write_bytes(make.get(kind, esp32_file)(TRUTH[kind][:1]))
    with pytest.raises(DataFormatError, match="1 packets; a window needs 2"):
        load_recording(path, fc=5.2e9)


def outcome(path, **options):
    """The packets of a file, or what was wrong with it."""
    try:
        return load_recording(path, **options).csi[0]
    except DataFormatError as error:
        return str(error)


@pytest.mark.parametrize("kind", CONTENT)
def test_file__cut_anywhere_never_gives_other_packets(kind, tmp_path):
    path = tmp_path / "capture"
    content, truth = CONTENT[kind], torch.from_numpy(TRUTH[kind])
    refused = 0
    for size in range(1, len(content), max(1, len(content) // 97)):
        path.write_bytes(content[:size])
        found = outcome(path, format=kind, fc=5.2e9)
        if isinstance(found, str):
            assert found.startswith(f"{path}: ")
            refused += 1
        else:  # the cut fell between two records
            assert torch.equal(found, truth[: len(found)])
    assert refused > 60


@pytest.mark.parametrize("kind", CONTENT)
def test_file__with_changed_bytes_is_refused_or_read(kind, tmp_path):
    """Never another error, and never a crash of the parser."""
    rng = np.random.default_rng(5)
    path = tmp_path / "capture"
    refused = 0
    for _ in range(120):
        content = bytearray(CONTENT[kind])
        for at in rng.integers(0, rng.choice([60, 400, len(content)]), rng.integers(1, 6)):
            content[at] = rng.integers(0, 256)
        path.write_bytes(content)
        refused += isinstance(outcome(path, format=kind, fc=5.2e9), str)
    assert refused > 10


# --- folders ------------------------------------------------------------------------------------


def write(folder, table, files=("a.pcap", "b.pcap", "c.pcap")):
    for n, name in enumerate(files):
        (folder / name).write_bytes(nexmon_file(whole_csi(n, 6, 1, 64, -99, 99)))
    (folder / "labels.csv").write_text(table)


def test_folder__positions_classes_sessions(tmp_path):
    write(
        tmp_path,
        "file,x_m,y_m,activity,session\na.pcap,1,2.5,sit,mon\nc.pcap,0,1,walk,tue\nb.pcap,3,1,sit,mon\n",
    )
    found = load_recording(tmp_path, num_packets=3)
    assert found.loc.tolist() == [[1, 2.5], [1, 2.5], [0, 1], [0, 1], [3, 1], [3, 1]]
    assert found.sen_names == ("sit", "walk")
    assert found.sen.tolist() == [0, 0, 1, 1, 0, 0]
    assert found.session.tolist() == [0, 0, 1, 1, 0, 0]
    assert torch.equal(found.csi[2], torch.from_numpy(whole_csi(2, 6, 1, 64, -99, 99)[:3]))
    assert found.source == str(tmp_path)


def test_folder__places_and_rates(tmp_path):
    write(tmp_path, "file,place,rate_hz\na.pcap,sofa,0.2\nb.pcap,bed,0.25\nc.pcap,sofa,0.3\n")
    found = load_recording(tmp_path)
    assert found.loc_names == ("bed", "sofa")
    assert found.loc.tolist() == [1, 0, 1]
    assert found.sen.tolist() == pytest.approx([0.2, 0.25, 0.3])
    assert found.session.tolist() == [0, 1, 2]


def test_folder__without_labels(tmp_path):
    write(tmp_path, "file\na.pcap\nb.pcap\nc.pcap\n")
    found = load_recording(tmp_path, format="nexmon")
    assert found.loc is found.sen is None


GOOD = "file,place\na.pcap,x\nb.pcap,y\nc.pcap,x\n"
TABLES = {
    "empty": ("", "an empty file"),
    "no file column": ("name\na.pcap\n", "columns name; allowed: file and some of x_m, y_m, place"),
    "other column": ("file,height\na.pcap,1\n", "columns file, height; allowed"),
    "column twice": ("file,place,place\na.pcap,1,2\n", "columns file, place, place; allowed"),
    "place and position": ("file,place,x_m,y_m\n", "columns place and x_m; allowed: one of them"),
    "class and rate": ("file,activity,rate_hz\n", "columns activity and rate_hz; allowed: one"),
    "half a position": ("file,x_m\na.pcap,1\n", "one of x_m and y_m; allowed: both or neither"),
    "no line": (
        "file,place\n",
        "0 lines for 3 files; without a file: none; without a line: a.pcap",
    ),
    "line missing": (
        "file,place\na.pcap,x\nb.pcap,y\n",
        "2 lines for 3 files; without a file: none; without a line: c.pcap; allowed: one line for",
    ),
    "file missing": (GOOD + "d.pcap,x\n", "4 lines for 3 files; without a file: d.pcap; without a"),
    "line twice": (GOOD + "a.pcap,x\n", "4 lines for 3 files; without a file: none"),
    "value missing": ("file,place\na.pcap,\n", "line 2 lacks a value or has too many"),
    "value too many": ("file,place\na.pcap,x,y\n", "line 2 lacks a value or has too many"),
    "no number": (
        "file,rate_hz\na.pcap,x\nb.pcap,1\nc.pcap,1\n",
        "column rate_hz: could not convert string to float: 'x'",
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_folder__table_is_checked(case, tmp_path):
    table, words = TABLES[case]
    write(tmp_path, table)
    with pytest.raises(DataFormatError) as caught:
        load_recording(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.csv'}: {words}")


def test_folder__without_table_or_missing(tmp_path):
    with pytest.raises(DataFormatError, match=r"labels\.csv: no such file"):
        load_recording(tmp_path)
    with pytest.raises(DataFormatError, match="x: no such file or folder"):
        load_recording(tmp_path / "x")
    with pytest.raises(DataFormatError, match=f"format: csv; allowed: {', '.join(FORMATS)}"):
        load_recording(tmp_path, format="csv")


def test_folder__of_wimans(tmp_path):
    write_annotation(tmp_path, [wimans_row(1, "act_1_1", "a", "walk")])
    csi = abs(whole_csi(0, 5, 9, 30, -9, 9))
    write_wimans_amp(tmp_path / "wifi_csi/amp/act_1_1.npy", csi)
    for chosen in (None, "wimans"):
        found = load_recording(tmp_path, format=chosen, every=2)
        assert torch.equal(found.csi[0], torch.from_numpy(csi[::2]))
    with pytest.raises(DataFormatError, match="WiMANS has windows of its own"):
        load_recording(tmp_path, num_packets=3)
