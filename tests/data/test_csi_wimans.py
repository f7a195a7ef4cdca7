import numpy as np
import pytest
import torch
from scipy.io import savemat

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_wimans import ACTIVITIES, PLACES, is_wimans, load_wimans
from tests.data.csi_files import (
    WIMANS_HEADER,
    whole_csi,
    wimans_row,
    write_annotation,
    write_wimans_amp,
    write_wimans_mat,
)

LENGTHS = (6, 4, 5)
ROWS = [
    wimans_row(1, "act_1_1", "a", "nothing"),
    wimans_row(2, "act_1_2", "e", "stand_up"),
    wimans_row(3, "act_12_1", "b", "walk", user=6, environment="empty_room"),
    wimans_row(4, "act_20_1", "b", "walk", users=3),  # no file: not of one user
    wimans_row(5, "act_30_1", "c", "jump", band="2.4"),
    wimans_row(6, "act_40_1", "", "", users=0),
]
LABELS = ("act_1_1", "act_1_2", "act_12_1")
WINDOWS = [whole_csi(n, length, 9, 30, -128, 127) for n, length in enumerate(LENGTHS)]


def write(folder, layout, rows=ROWS):
    write_annotation(folder, rows)
    for label, csi in zip(LABELS, WINDOWS, strict=True):
        if layout == "mat":
            write_wimans_mat(folder / f"wifi_csi/mat/{label}.mat", csi)
        else:
            write_wimans_amp(folder / f"wifi_csi/amp/{label}.npy", np.abs(csi))


@pytest.mark.parametrize("layout", ["amp", "mat"])
def test_wimans__windows_and_labels_come_back(layout, tmp_path):
    write(tmp_path, layout)
    found = load_wimans(tmp_path)
    assert is_wimans(tmp_path)
    assert found.is_complex == (layout == "mat")
    assert found.csi.shape == (3, 6, 9, 30)
    assert found.received.sum(-1).tolist() == list(LENGTHS)
    for n, csi in enumerate(WINDOWS):
        expected = torch.from_numpy(csi if layout == "mat" else np.abs(csi))
        assert torch.equal(found.csi[n, 6 - len(csi) :], expected)
        assert not found.csi[n, : 6 - len(csi)].any()
    assert [PLACES[i] for i in found.loc] == ["a", "e", "b"]
    assert [ACTIVITIES[i] for i in found.sen] == ["nothing", "stand_up", "walk"]
    assert found.loc_names == PLACES
    assert found.sen_names == ACTIVITIES
    assert found.session.tolist() == [0, 0, 1]
    assert (found.fs, found.fc) == (1000.0, 5e9)
    assert found.freqs[-1] - found.freqs[0] == 56 * 312.5e3


def test_wimans__padding_in_the_file_is_no_signal(tmp_path):
    write(tmp_path, "amp")
    for label, csi in zip(LABELS, WINDOWS, strict=True):
        path = tmp_path / f"wifi_csi/amp/{label}.npy"
        write_wimans_amp(path, np.abs(csi), padding=3000 - len(csi))
    found = load_wimans(tmp_path)
    assert found.csi.shape == (3, 6, 9, 30)
    assert found.received.sum(-1).tolist() == list(LENGTHS)
    assert torch.equal(found.csi[0], torch.from_numpy(np.abs(WINDOWS[0])))


def test_wimans__choice(tmp_path):
    write(tmp_path, "amp")
    assert load_wimans(tmp_path, environment="empty_room").loc.tolist() == [1]
    assert load_wimans(tmp_path, sessions=["act_1"]).loc.tolist() == [0, 4]
    thin = load_wimans(tmp_path, every=2, fc=5.32e9)
    assert thin.fs == 500.0
    assert thin.fc == 5.32e9
    assert torch.equal(thin.csi[0], torch.from_numpy(np.abs(WINDOWS[0][1::2])))
    assert torch.equal(thin.csi[2], torch.from_numpy(np.abs(WINDOWS[2][0::2])))
    write_wimans_amp(tmp_path / "wifi_csi/amp/act_30_1.npy", np.abs(WINDOWS[0]))
    assert load_wimans(tmp_path, band="2.4").fc == 2.4e9


def test_wimans__both_layouts_are_told_apart(tmp_path):
    write(tmp_path, "amp")
    write(tmp_path, "mat")
    assert not load_wimans(tmp_path).is_complex
    assert load_wimans(tmp_path, layout="mat").is_complex


def test_wimans__packets_say_40_mhz(tmp_path):
    write(tmp_path, "mat")
    for label, csi in zip(LABELS, WINDOWS, strict=True):
        write_wimans_mat(tmp_path / f"wifi_csi/mat/{label}.mat", csi, rate=0x1901)
    found = load_wimans(tmp_path)
    assert found.freqs[-1] - found.freqs[0] == 116 * 312.5e3
    write_wimans_mat(tmp_path / "wifi_csi/mat/act_1_2.mat", WINDOWS[1])
    with pytest.raises(
        DataFormatError, match="packet 1 has bandwidth in MHz = 20, packet 0 has 40"
    ):
        load_wimans(tmp_path)


CHOICES = [
    ({"band": "6"}, "band: 6; allowed: 2.4, 5 (GHz)"),
    ({"every": 0}, "every: 0; allowed: 1 or more"),
    ({"layout": "csv"}, "layout: csv; allowed: amp, mat"),
    ({"layout": "mat"}, "no CSI; looked in"),
    ({"environment": "kitchen"}, "environment: kitchen; there are classroom, empty_room"),
    ({"sessions": ["act_1", "act_7"]}, "no line of session act_7 fits the choice"),
    ({"band": "2.4", "environment": "empty_room"}, "none of 4 lines with one user is of band 2.4"),
    (
        {"band": "2.4"},
        "1 of the 1 chosen labels have no file, first act_30_1.npy; allowed: one each",
    ),
]


@pytest.mark.parametrize(("choice", "words"), CHOICES)
def test_wimans__choice_that_does_not_fit(choice, words, tmp_path):
    write(tmp_path, "amp")
    with pytest.raises(DataFormatError) as caught:
        load_wimans(tmp_path, **choice)
    assert words in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def row(**changes):
    found = dict(zip(WIMANS_HEADER, ROWS[0], strict=True)) | changes
    return list(found.values())


TABLES = {
    "two places": (
        [row(user_2_location="b")],
        "line 2: location a, b of one user; allowed: one of a",
    ),
    "no place": ([row(user_1_location="")], "line 2: location missing of one user"),
    "other place": ([row(user_1_location="f")], "line 2: location f of one user"),
    "other activity": ([row(user_1_activity="sleep")], "line 2: activity sleep of one user"),
    "twice": ([ROWS[0], ROWS[1], ROWS[0]], "label act_1_1 is there twice; allowed: once"),
    "a path": ([row(label="../../x")], "line 2: label '../../x'; allowed: a file name"),
    "field missing": ([ROWS[0], ROWS[1][:-1]], "line 3 has not as many fields as the header"),
    "field too many": ([[*ROWS[0], "x"]], "line 2 has not as many fields as the header"),
}


@pytest.mark.parametrize("case", TABLES)
def test_wimans__annotation_is_checked(case, tmp_path):
    rows, words = TABLES[case]
    write(tmp_path, "amp", rows)
    with pytest.raises(DataFormatError) as caught:
        load_wimans(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / 'annotation.csv'}: {words}")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file"),
        (b"\xff\xfe\x00", "not a CSV file"),
        (b"label,environment\n", "no column user_1_location; allowed: user_1_location"),
    ],
)
def test_wimans__annotation_of_another_kind(content, words, tmp_path):
    write(tmp_path, "amp")
    (tmp_path / "annotation.csv").write_bytes(content)
    with pytest.raises(DataFormatError, match=words):
        load_wimans(tmp_path)
    (tmp_path / "annotation.csv").unlink()
    assert not is_wimans(tmp_path)
    with pytest.raises(DataFormatError, match=r"annotation\.csv: no such file"):
        load_wimans(tmp_path)


def npy(path, array, **options):
    np.save(path, array, **options)
    return path.read_bytes()


AMP = {
    "empty": (lambda p: b"", "an empty file"),
    "text": (lambda p: b"hello", "damaged or not an array file"),
    "cut": (lambda p: p.read_bytes()[:-9], "damaged or not an array file"),
    "pickle": (
        lambda p: npy(p, np.array([{}], object), allow_pickle=True),
        "damaged or not an array file",
    ),
    "flat": (
        lambda p: npy(p, np.ones((5, 270), np.float32)),
        "5 x 270 float32; allowed: packets x 3",
    ),
    "56 tones": (lambda p: npy(p, np.ones((5, 3, 3, 56))), "5 x 3 x 3 x 56 float64"),
    "whole numbers": (lambda p: npy(p, np.ones((5, 3, 3, 30), int)), "5 x 3 x 3 x 30 int64"),
}


@pytest.mark.parametrize("case", AMP)
def test_wimans__damaged_amplitudes_are_named(case, tmp_path):
    make, words = AMP[case]
    write(tmp_path, "amp")
    path = tmp_path / "wifi_csi/amp/act_1_2.npy"
    path.write_bytes(make(path))
    with pytest.raises(DataFormatError) as caught:
        load_wimans(tmp_path)
    assert str(caught.value).startswith(f"{path}: {words}")


def test_wimans__archive_is_no_array(tmp_path):
    write(tmp_path, "amp")
    path = tmp_path / "wifi_csi/amp/act_1_2.npy"
    with path.open("wb") as file:
        np.savez(file, a=np.ones(3))
    with pytest.raises(DataFormatError, match="an archive of arrays; allowed: one array"):
        load_wimans(tmp_path)


def test_wimans__amplitudes_go_through_the_checks_of_a_recording(tmp_path):
    write(tmp_path, "amp")
    amplitude = np.abs(WINDOWS[1])
    amplitude[2] = 0
    write_wimans_amp(tmp_path / "wifi_csi/amp/act_1_2.npy", amplitude)
    words = "csi: 1 packets that are all zero, first at window 1, packet 4"
    with pytest.raises(DataFormatError, match=words):
        load_wimans(tmp_path)
    amplitude[2] = np.nan
    write_wimans_amp(tmp_path / "wifi_csi/amp/act_1_2.npy", amplitude)
    with pytest.raises(DataFormatError, match="csi: 270 values that are not finite"):
        load_wimans(tmp_path)


def mat(path, **variables):
    savemat(path, variables)
    return path.read_bytes()


def cells(*values):
    found = np.empty((len(values), 1), object)
    for n, value in enumerate(values):
        found[n, 0] = value
    return found


HDF5 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(400)
MAT = {
    "empty": (lambda p: b"", "an empty file"),
    "text": (lambda p: b"hello " * 99, "damaged or not a MATLAB file"),
    "cut": (lambda p: p.read_bytes()[:-999], "damaged or not a MATLAB file"),
    "version 7.3": (lambda p: HDF5, "a MATLAB 7.3 file; allowed: up to version 7.2"),
    "no trace": (lambda p: mat(p, csi=np.ones(3)), "no variable trace"),
    "numbers": (lambda p: mat(p, trace=np.ones(3)), "trace is float64, size 3; allowed: cells"),
    "cells of numbers": (lambda p: mat(p, trace=cells(np.ones(3))), "packet 0 is no structure"),
    "varying K": (
        lambda p: mat(p, trace=cells({"csi": np.ones((3, 3, 30))}, {"csi": np.ones((3, 3, 28))})),
        "packet 1 has CSI 3 x 3 x 28 float64 in field csi; allowed: 3 x 3 x 30 numbers",
    ),
    "last field is another": (
        lambda p: mat(p, trace=cells({"csi": np.ones((3, 3, 30)), "rate": 1.0})),
        "packet 0 has CSI 1 x 1",
    ),
}


@pytest.mark.parametrize("case", MAT)
def test_wimans__damaged_mat_is_named(case, tmp_path):
    make, words = MAT[case]
    write(tmp_path, "mat")
    path = tmp_path / "wifi_csi/mat/act_1_2.mat"
    path.write_bytes(make(path))
    with pytest.raises(DataFormatError) as caught:
        load_wimans(tmp_path)
    assert str(caught.value).startswith(f"{path}: {words}")
