import struct

import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_intel import is_intel, read_intel, unwrapped
from tests.data.csi_files import intel_file, intel_packet, intel_record, whole_csi

CSI = whole_csi(0, 5, 6, 30, -128, 127)  # 3 receivers, 2 streams
GOOD = intel_file(CSI)
FC = 5.32e9


@pytest.fixture
def read(tmp_path):
    def run(content, **options):
        (tmp_path / "log.dat").write_bytes(content)
        return read_intel(tmp_path / "log.dat", **({"fc": FC} | options))

    return run


@pytest.mark.parametrize(("receivers", "streams"), [(r, s) for r in (1, 2, 3) for s in (1, 2, 3)])
def test_intel__every_size_comes_back(receivers, streams, read):
    csi = whole_csi(receivers, 4, receivers * streams, 30, -128, 127)
    found = read(intel_file(csi, receivers=receivers, order=tuple(range(receivers))))
    assert found.csi.dtype == np.complex64
    assert np.array_equal(found.csi, csi)
    assert found.num_dropped == 0
    assert not found.null.any()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
def test_intel__antenna_order_is_undone(order, read):
    assert np.array_equal(read(intel_file(CSI, order=order)).csi, CSI)


def test_intel__two_of_three_antennas_keep_their_order(read):
    csi = whole_csi(3, 4, 4, 30, -128, 127)
    content = bytearray(intel_file(csi, receivers=2, order=(1, 0)))
    at = content.index(0xBB) + 1 + 15
    assert content[at] == 0b0001
    content[at] = 0b0010  # antennas 2 and 0: the same ranks
    assert np.array_equal(read(bytes(content)).csi, csi)


def test_intel__clock_wraps(read):
    assert read(GOOD).fs == pytest.approx(1000)
    assert read(GOOD).time_s == pytest.approx([0, 0.001, 0.002, 0.003, 0.004])
    ticks = np.array([2**32 - 2, 3, 1, 2**31], np.uint32)
    assert unwrapped(ticks).tolist() == [0, 5, 3, 2**31 + 2]


@pytest.mark.parametrize(
    ("wide", "ends", "steps"), [(False, (-28, 28), {1, 2}), (True, (-58, 58), {4})]
)
def test_intel__tones_follow_the_bandwidth(wide, ends, steps, read):
    found = read(intel_file(CSI, wide=wide))
    assert len(found.tone) == 30
    assert (found.tone[0], found.tone[-1]) == ends
    assert set(np.diff(found.tone)) <= steps
    assert found.fc == FC


def test_intel__long_records_of_other_kinds_are_skipped(read):
    """Records that csiread would copy past its buffer of 1024 bytes."""
    found = read(intel_record(0xC1, b"x" * 60000) + GOOD + intel_record(0xC1, b"x" * 60000))
    assert np.array_equal(found.csi, CSI)


def test_intel__packets_with_two_equal_antennas_are_left_out(read):
    content = GOOD + intel_packet(CSI[0], receivers=3, order=(0, 1, 1))
    found = read(content)
    assert found.num_dropped == 1
    assert np.array_equal(found.csi, CSI)


SHORT = len(GOOD) - 3
DAMAGED = {
    "empty": (b"", "an empty file"),
    "text": (b"hello world, this is no log", "record 0 at byte 0 needs 26727 bytes, 27 follow"),
    "cut": (GOOD[:SHORT], f"record 9 at byte {len(GOOD) - 2003} needs 2003 bytes, 2000 follow"),
    "two bytes": (GOOD[:2], "record 0 at byte 0 needs 3 bytes, 2 follow"),
    "no packet": (intel_record(0xC1, b"x") * 3, "no packet (code 0xbb) in 3 records; codes 0xc1"),
    "header only": (intel_record(0xBB, b"x" * 19), "packet 0 has 19 bytes, its header needs 20"),
    "four antennas": (
        intel_record(0xBB, struct.pack("<IHH", 0, 0, 0) + bytes((4, 1)) + bytes(600)),
        "packet 0 has 4 receivers and 1 streams; allowed: 1 to 3 each",
    ),
    "other tones": (
        intel_packet(CSI[0], receivers=3, length=371),
        "packet 0 says 371 bytes and has 372; 30 tones of 3 x 2 antennas need 372",
    ),
    "payload that is short": (
        intel_record(0xBB, intel_packet(CSI[0], receivers=3)[3:-1]),
        "packet 0 says 372 bytes and has 371",
    ),
    "no order": (
        intel_packet(CSI[0], receivers=3, order=(0, 0, 0)),
        "no packet with a valid antenna",
    ),
    "other antennas": (
        GOOD + intel_packet(CSI[0, :3], receivers=3),
        "packet 5 has receivers x streams = 3 x 1, packet 0 has 3 x 2; allowed: the same",
    ),
    "other bandwidth": (
        GOOD + intel_packet(CSI[0], receivers=3, wide=True),
        "packet 5 has bandwidth in MHz = 40, packet 0 has 20",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_intel__damage_is_named(case, read, tmp_path):
    content, words = DAMAGED[case]
    with pytest.raises(DataFormatError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'log.dat'}: {words}")


def test_intel__cut_file_says_where_the_whole_records_end(read):
    with pytest.raises(DataFormatError, match="records before it end at byte") as caught:
        read(GOOD[:SHORT])
    end = int(str(caught.value).rstrip(".").split()[-1])
    assert len(read(GOOD[:end]).csi) == len(CSI)


def test_intel__carrier_must_be_given(read):
    with pytest.raises(DataFormatError, match="does not hold the carrier; give fc"):
        read(GOOD, fc=None)


def test_intel__is_told_from_others():
    assert is_intel(GOOD)
    assert not is_intel(b"")
    assert not is_intel(b"\x00\x00\xbb")
    assert not is_intel(GOOD[:50])
