import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_nexmon import CHIPS, is_nexmon, read_nexmon
from tests.data.csi_files import (
    nexmon_file,
    nexmon_float,
    nexmon_int16,
    nexmon_packet,
    pcap,
    whole_csi,
)

CSI = whole_csi(0, 5, 4, 64, -(2**15), 2**15 - 1)  # 2 cores, 2 streams
GOOD = nexmon_file(CSI, cores=2)
SIZE = 16 + 42 + 18 + 256
MAC = "00:11:22:33:44:55"


@pytest.fixture
def read(tmp_path):
    def run(content, **options):
        (tmp_path / "walk.pcap").write_bytes(content)
        return read_nexmon(tmp_path / "walk.pcap", **options)

    return run


@pytest.mark.parametrize(("tones", "nulls"), [(64, 12), (128, 20), (256, 22)])
@pytest.mark.parametrize("cores", [1, 2, 4])
def test_nexmon__every_size_comes_back(tones, nulls, cores, read):
    csi = whole_csi(tones, 4, 4, tones, -(2**15), 2**15 - 1)
    found = read(nexmon_file(csi, cores=cores))
    assert found.csi.dtype == np.complex64
    assert np.array_equal(found.csi, csi)
    assert found.tone.tolist() == list(range(-tones // 2, tones // 2))
    assert found.null.sum() == nulls
    assert found.null[tones // 2]  # the carrier
    assert found.fc == 5.21e9
    assert found.fs == pytest.approx(25)
    assert found.num_dropped == 0


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("nano", [False, True])
@pytest.mark.parametrize("old", [False, True])
def test_nexmon__every_pcap_and_both_firmwares(order, nano, old, read):
    found = read(nexmon_file(CSI, cores=2, order=order, nano=nano, old=old))
    assert np.array_equal(found.csi, CSI)
    assert found.time_s == pytest.approx([0, 0.04, 0.08, 0.12, 0.16])


@pytest.mark.parametrize(("chip", "bits", "exponent_bits"), [("4358", 9, 5), ("4366c0", 12, 6)])
def test_nexmon__floating_point_chips(chip, bits, exponent_bits, read):
    rng = np.random.default_rng(3)
    limit = 2 ** (bits - 1) - 1
    # small exponents and full mantissas: no bit is lost in the decoder's fixed-point result
    mantissa = whole_csi(5, 3, 1, 64, -limit, limit)[:, 0]
    mantissa[:, 0] = limit
    exponent = rng.integers(0, 2, (3, 64))
    exponent[:, 0] = 1
    packets = [
        nexmon_packet(
            nexmon_float(m, e, bits=bits, exponent_bits=exponent_bits),
            frame=n,
            chip={v: k for k, v in CHIPS.items()}[chip],
            channel=0xD02A,
        )
        for n, (m, e) in enumerate(zip(mantissa, exponent, strict=True))
    ]
    found = np.fft.ifftshift(read(pcap(packets)).csi[:, 0], axes=-1)
    truth = mantissa * 2.0**exponent
    scale = abs(found[:, :1].real) / abs(truth[:, :1].real)  # the decoder's, one per packet
    assert np.log2(scale) == pytest.approx(np.round(np.log2(scale)), abs=1e-6)
    assert np.abs(found - scale * truth).max() < 2  # rounded towards zero, both parts
    assert np.abs(found).max() > 500


def test_nexmon__chip_may_be_given(read):
    content = nexmon_file(CSI, cores=2, chip=0x1234)
    with pytest.raises(
        DataFormatError, match="chip: not known by its number 0x1234; allowed: 4339"
    ):
        read(content)
    assert np.array_equal(read(content, chip="43455c0").csi, CSI)
    with pytest.raises(DataFormatError, match="chip: 9999; allowed: 4339, 43455c0, 4358, 4366c0"):
        read(content, chip="9999")


def packet(frame, core=0, **more):
    return nexmon_packet(
        nexmon_int16(CSI[frame, core]), frame=frame, core=core, **({"channel": 0xD02A} | more)
    )


def test_nexmon__frames_that_lack_a_core_are_left_out(read):
    packets = [packet(0), packet(0, 1), packet(1), packet(2, 1), packet(2), packet(3), packet(3)]
    found = read(pcap(packets))
    expected = np.fft.fftshift(np.stack([CSI[0, :2], CSI[2, :2]]), axes=-1)
    assert np.array_equal(found.csi, expected)
    assert found.num_dropped == 3


def test_nexmon__other_traffic_is_ignored(read):
    content = pcap([packet(0), b"x" * 60, packet(1, port=53), packet(1), packet(2)])
    assert len(read(content).csi) == 3


def test_nexmon__transmitters_are_told_apart(read):
    content = pcap([packet(0), packet(0, mac=b"\xab" * 6), packet(1), packet(1, mac=b"\xab" * 6)])
    with pytest.raises(
        DataFormatError, match=f"2 transmitters; give mac, one of {MAC}, ab:ab:ab:ab:ab:ab"
    ):
        read(content)
    assert len(read(content, mac="AB:AB:AB:AB:AB:AB").csi) == 2
    with pytest.raises(DataFormatError, match=f"mac: 00:00:00:00:00:00; allowed: {MAC}"):
        read(content, mac="00:00:00:00:00:00")


def test_nexmon__carrier_may_be_given(read):
    assert read(GOOD, fc=5.25e9).fc == 5.25e9
    assert read(pcap([packet(n, channel=0x1006) for n in range(3)])).fc == 2.437e9


DAMAGED = {
    "empty": (b"", "an empty file"),
    "text": (b"hello world, no capture here", "magic number 68656c6c; allowed: d4c3b2a1, a1b2c3d4"),
    "new pcap": (b"\x0a\x0d\x0d\x0a" + bytes(40), "magic number 0a0d0d0a; allowed"),
    "header cut": (GOOD[:20], "record 0 at byte 0 needs 24 bytes, 20 follow"),
    "other link": (pcap([packet(0)], link=105), "link type 105; allowed: 1 (Ethernet)"),
    "no packet": (GOOD[:24], "no CSI in 0 packets; allowed: UDP to port 5500"),
    "other traffic": (pcap([b"x" * 99] * 3), "no CSI in 3 packets"),
    "cut": (GOOD[:-7], f"record 19 at byte {24 + 19 * SIZE} needs {SIZE} bytes, {SIZE - 7} follow"),
    "cut in a header": (
        GOOD[: 24 + SIZE + 9],
        f"record 1 at byte {24 + SIZE} needs 16 bytes, 9 follow",
    ),
    "tones of no channel": (
        pcap([nexmon_packet(bytes(4 * 100))]),
        "packet 0 has 400 bytes of CSI; allowed: 256, 512, 1024",
    ),
    "half a tone": (pcap([nexmon_packet(bytes(258))]), "packet 0 has 258 bytes of CSI"),
    "tones of another width": (
        pcap([packet(0, channel=0xE02A)]),
        "K = 64 tones in channel specification 0xe02a; allowed: width bits 0x1000, found 0x2000",
    ),
    "varying K": (
        pcap([packet(0), nexmon_packet(bytes(512))]),
        "packet 1 has K = 128, packet 0 has 64; allowed: the same in all packets of a file",
    ),
    "varying channel": (
        pcap([packet(0), packet(1, channel=0xD02B)]),
        "packet 1 has channel specification = 0xd02b, packet 0 has 0xd02a",
    ),
    "no channel": (pcap([packet(0, channel=0x1010)]), "packet 0: channel 16; allowed: 1 to 14 and"),
    "no whole frame": (
        pcap([packet(0), packet(1, 1), packet(2)]),
        "none of 3 frames has all 2 links (streams x cores)",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_nexmon__damage_is_named(case, read, tmp_path):
    content, words = DAMAGED[case]
    with pytest.raises(DataFormatError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'walk.pcap'}: {words}")


def test_nexmon__is_told_from_others():
    assert is_nexmon(GOOD)
    assert not is_nexmon(b"")
