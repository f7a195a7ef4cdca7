import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from isac_gym.core.errors import DataFormatError
from isac_gym.data import csi_stream
from isac_gym.data.csi_stream import PacketStream, record
from tests.data.csi_files import whole_csi


def stream(seed=0, packets=11, links=2, tones=5, **changes):
    parts = {
        "csi": whole_csi(seed, packets, links, tones, -9, 9),
        "time_s": np.arange(packets) * 0.01,
        "fc": 5e9,
        "tone": np.arange(tones),
        "null": np.arange(tones) == 1,
        "num_dropped": 1,
        "source": f"file {seed}",
    }
    return PacketStream(**parts | changes)


def test_stream__rate_is_that_of_most_packets():
    late = np.arange(11) * 0.01
    late[7:] += 3.0
    assert stream(time_s=late).fs == pytest.approx(100)
    with pytest.raises(DataFormatError, match=r"median distance of packets is 0\.0 s"):
        _ = stream(time_s=np.zeros(11)).fs
    with pytest.raises(DataFormatError, match="file 0: 1 packets; allowed: at least 2"):
        _ = stream(packets=1).fs


def test_stream__windows():
    csi = torch.from_numpy(stream().csi)
    assert torch.equal(stream().windows()[0], csi)
    found = stream().windows(4)
    assert [torch.equal(w, csi[s : s + 4]) for w, s in zip(found, (0, 4), strict=True)] == [
        True
    ] * 2
    found = stream().windows(4, hop=3)
    assert [torch.equal(w, csi[s : s + 4]) for w, s in zip(found, (0, 3, 6), strict=True)] == [
        True
    ] * 3


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_packets": 1}, "windows of 1 packets every 1; allowed: at least 2 packets"),
        ({"num_packets": 4, "hop": 0}, "windows of 4 packets every 0"),
        ({"num_packets": 12}, "file 0: 11 packets; a window needs 12"),
    ],
)
def test_stream__windows_that_do_not_fit(options, words):
    with pytest.raises(DataFormatError, match=words):
        stream().windows(**options)


def test_stream__thinned():
    thin = stream().thinned(4)
    assert np.array_equal(thin.csi, stream().csi[[2, 6, 10]])
    assert thin.fs == pytest.approx(25)
    with pytest.raises(DataFormatError, match="file 0: every: 0; allowed: 1 or more"):
        stream().thinned(0)


def test_record__one_label_a_file():
    streams = [stream(0), stream(1, packets=8), stream(2, packets=4)]
    found = record(
        streams,
        num_packets=4,
        loc=[(0.0, 1.0), (2.0, 3.0), (4.0, 5.0)],
        sen=[1, 0, 1],
        session=[7, 7, 9],
    )
    assert found.num_windows == 5
    assert found.loc.tolist() == [[0, 1], [0, 1], [2, 3], [2, 3], [4, 5]]
    assert found.sen.tolist() == [1, 1, 0, 0, 1]
    assert found.session.tolist() == [7, 7, 7, 7, 9]
    assert found.fs == pytest.approx(100)
    assert found.num_dropped == 3
    assert found.null.tolist() == [[False, True, False, False, False]] * 2
    assert torch.equal(found.freqs, 5e9 + 312.5e3 * torch.arange(5.0, dtype=torch.float64))
    assert torch.equal(found.csi[3], torch.from_numpy(streams[1].csi[4:8]))


def test_record__whole_files_and_rates():
    found = record([stream(0), stream(1, packets=8)], sen=[0.2, 0.3])
    assert found.valid.sum(-1).tolist() == [11, 8]
    assert found.sen.dtype == torch.float32
    assert found.loc is None
    assert found.session.tolist() == [0, 1]


OTHER = {
    "K": (stream(1, tones=4), "file 1: K = 4, file 0 has K = 5; allowed: the same in all files"),
    "P": (stream(1, links=1), "file 1: P = 1, file 0 has P = 2"),
    "carrier": (stream(1, fc=5.1e9), "file 1: carrier = 5100000000.0, file 0 has"),
    "tones": (stream(1, tone=np.arange(5) + 1), "file 1: tones = [1, 2, 3, 4, 5], file 0 has"),
}


@pytest.mark.parametrize("case", OTHER)
def test_record__files_must_agree(case):
    other, words = OTHER[case]
    with pytest.raises(DataFormatError) as caught:
        record([stream(), other])
    assert str(caught.value).startswith(words)


def test_record__labels_must_match():
    for name, labels in (("loc", [1, 2, 3]), ("sen", [1]), ("session", [])):
        with pytest.raises(DataFormatError, match=f"x: {name}: {len(labels)} labels for 2 files"):
            record([stream(0), stream(1)], source="x", **{name: labels})
    with pytest.raises(DataFormatError, match="x: no capture file"):
        record([], source="x")


def test_csiread__missing_says_how_to_install(monkeypatch, tmp_path):
    from isac_gym.data.csi_atheros import read_atheros
    from tests.data.csi_files import atheros_file

    monkeypatch.setitem(sys.modules, "csiread", None)
    with pytest.raises(ModuleNotFoundError) as caught:
        csi_stream.csiread()
    assert str(caught.value) == 'this capture format needs csiread: pip install "isac_gym[csi]"'
    assert caught.value.name == "csiread"
    (tmp_path / "a.dat").write_bytes(atheros_file(whole_csi(0, 3, 3, 56, -9, 9)))
    with pytest.raises(ModuleNotFoundError, match=r"isac_gym\[csi\]"):
        read_atheros(tmp_path / "a.dat")


def test_content__missing_and_unreadable(tmp_path):
    with pytest.raises(DataFormatError, match="x: no such file"):
        csi_stream.read_content(tmp_path / "x")
    with pytest.raises(DataFormatError, match="no such file"):
        csi_stream.read_content(tmp_path)


def test_stream__is_frozen_and_replaceable():
    assert replace(stream(), fc=1.0).fc == 1.0
    with pytest.raises(AttributeError):
        stream().fc = 2.0
