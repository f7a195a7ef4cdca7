import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_atheros import is_atheros, read_atheros
from tests.data.csi_files import atheros_file, atheros_record, intel_file, whole_csi

CSI = whole_csi(0, 5, 6, 56, -512, 511)  # 3 receivers, 2 transmitters
GOOD = atheros_file(CSI)
SIZE = len(GOOD) // 5


@pytest.fixture
def read(tmp_path):
    def run(content, **options):
        (tmp_path / "log.dat").write_bytes(content)
        return read_atheros(tmp_path / "log.dat", **options)

    return run


@pytest.mark.parametrize("tones", [56, 114])
@pytest.mark.parametrize(
    ("receivers", "transmitters"), [(r, t) for r in (1, 2, 3) for t in (1, 2, 3)]
)
def test_atheros__every_size_comes_back(tones, receivers, transmitters, read):
    csi = whole_csi(receivers, 4, receivers * transmitters, tones, -512, 511)
    found = read(atheros_file(csi, receivers=receivers))
    assert found.csi.dtype == np.complex64
    assert np.array_equal(found.csi, csi)
    half = 28 if tones == 56 else 58
    assert found.tone.tolist() == [t for t in range(-half, half + 1) if abs(t) > (tones == 114)]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("marked", [False, True])
def test_atheros__both_byte_orders_with_and_without_mark(order, marked, read):
    found = read(atheros_file(CSI, order=order, marked=marked))
    assert np.array_equal(found.csi, CSI)
    assert found.fs == pytest.approx(500)
    assert found.fc == 5.24e9


def test_atheros__carrier_may_be_given(read):
    assert read(GOOD, fc=5.25e9).fc == 5.25e9


def test_atheros__packets_without_csi_or_with_errors_are_left_out(read):
    silent = atheros_record(None, receivers=0, time=10**9 - 2000)
    wrong = atheros_record(CSI[0], receivers=3, time=10**9 + 10000, error=3)
    found = read(silent + GOOD + wrong)
    assert np.array_equal(found.csi, CSI)
    assert found.num_dropped == 2


def test_atheros__csi_longer_than_needed(read):
    """More than csiread's buffer of 4096 bytes holds; what follows the tones is ignored."""
    size = len(GOOD) // 5 - 2 - 25 - 8  # of the CSI of a record
    parts = []
    for n in range(5):
        start = n * SIZE
        head, csi = GOOD[start + 2 : start + 27], GOOD[start + 27 : start + 27 + size]
        head = head[:8] + (60000).to_bytes(2, "little") + head[10:]
        body = head + csi + bytes(60000 - size) + GOOD[start + 27 + size : start + SIZE]
        parts.append(len(body).to_bytes(2, "little") + body)
    assert np.array_equal(read(b"".join(parts)).csi, CSI)


def records(**more):
    return atheros_file(CSI, **more)


DAMAGED = {
    "empty": (b"", "an empty file"),
    "text": (
        b"hello world, this is no log" * 99,
        "record 0 at byte 0 needs 25962 bytes, 2673 follow",
    ),
    "cut": (GOOD[:-5], f"record 4 at byte {4 * SIZE} needs {SIZE} bytes, {SIZE - 5} follow"),
    "cut in the header": (GOOD[: SIZE + 9], f"record 1 at byte {SIZE} needs 27 bytes, 9 follow"),
    "derailed": (
        GOOD[:SIZE] + bytes((GOOD[0] - 1,)) + GOOD[1:],
        f"record 1 at byte {SIZE} has {SIZE - 3} bytes; its header (25), CSI (840) and content (8)",
    ),
    "zeros": (bytes(400), "record 0 at byte 0 has 0 bytes; its header (25)"),
    "no CSI": (
        atheros_record(None, receivers=0, time=0) * 3,
        "none of 3 packets is usable: 3 have no CSI",
    ),
    "tones of no chip": (
        records(tones=57),
        "packet 0 has K = 57 tones at bandwidth code 0; allowed: 56 at code 0, 114 at code 1",
    ),
    "tones of the other bandwidth": (
        records(width=1),
        "packet 0 has K = 56 tones at bandwidth code 1",
    ),
    "too little CSI": (
        records(tones=114, width=1),
        "packet 0 has 840 bytes of CSI; 114 tones of 3 x 2 antennas need 1710",
    ),
    "six receivers": (
        atheros_file(CSI, receivers=6),
        "packet 0 has 6 receivers and 1 transmitters; allowed: 1 to 3 each",
    ),
    "no channel": (records(mhz=44), "packet 0 is on 44 MHz; allowed: 2400 to 6000"),
    "varying tones": (
        GOOD + atheros_file(whole_csi(1, 1, 6, 114, -512, 511)),
        "packet 5 has K = 114, packet 0 has 56; allowed: the same in all packets of a file",
    ),
    "varying antennas": (
        GOOD + atheros_file(CSI[:1, :3]),
        "packet 5 has receivers x transmitters = 3 x 1, packet 0 has 3 x 2",
    ),
    "varying channel": (
        GOOD + atheros_file(CSI[:1], mhz=5260),
        "packet 5 has channel in MHz = 5260, packet 0 has 5240",
    ),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_atheros__damage_is_named(case, read, tmp_path):
    content, words = DAMAGED[case]
    with pytest.raises(DataFormatError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'log.dat'}: {words}")


def test_atheros__is_told_from_others():
    assert is_atheros(GOOD)
    assert is_atheros(atheros_file(CSI, order=">", marked=True))
    assert not is_atheros(b"")
    assert not is_atheros(intel_file(whole_csi(0, 2, 3, 30, -9, 9)))
