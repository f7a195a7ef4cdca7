import csiread
import numpy as np
import pytest

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_esp32 import is_esp32, read_esp32
from tests.data.csi_files import ESP32_HEADER, esp32_file, esp32_line, whole_csi

CSI = whole_csi(0, 5, 1, 64, -128, 127)
GOOD = esp32_file(CSI)


@pytest.fixture
def read(tmp_path):
    def run(content, **options):
        content = content.encode() if isinstance(content, str) else content
        (tmp_path / "csi.csv").write_bytes(content)
        return read_esp32(tmp_path / "csi.csv", **options)

    return run


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("second", [0, 1, 2])
@pytest.mark.parametrize("tail", [0, 128, 248, 252, 256, 484])
def test_esp32__every_mode_comes_back(unsigned, second, tail, read):
    found = read(esp32_file(CSI, unsigned=unsigned, second=second, tail=tail))
    assert found.csi.dtype == np.complex64
    assert np.array_equal(found.csi, CSI)
    assert found.tone.tolist() == list(range(-32, 32))
    assert found.fc == 2.437e9
    assert found.fs == pytest.approx(100)


def test_esp32__null_tones(read):
    empty = {*range(-32, -26), 0, *range(27, 32)}
    found = read(esp32_file(CSI, second=1))
    assert set(found.tone[found.null]) == empty
    found = read(GOOD)
    assert set(found.tone[found.null]) == empty | {1}  # stored first, the board may not fill them


def test_esp32__agrees_with_csiread_on_lines_it_can_read(read, tmp_path):
    lines = "".join(esp32_line(c[0], time=n) for n, c in enumerate(CSI))
    found = read(lines)
    parser = csiread.ESP32(str(tmp_path / "csi.csv"), if_report=False)
    parser.read()
    assert np.array_equal(np.fft.fftshift(parser.csi, axes=-1), found.csi[:, 0])


def test_esp32__last_line_without_its_end(read):
    whole = "".join(esp32_line(c[0], time=n) for n, c in enumerate(CSI))
    assert np.array_equal(read(whole.rstrip("\n")).csi, CSI)
    assert np.array_equal(read(whole.replace(" ]", "]").rstrip("\n")).csi, CSI)


def test_esp32__transmitters_are_told_apart(read):
    lines = "".join(
        esp32_line(c[0], time=n, mac=f"0{n % 2}:00:00:00:00:AA") for n, c in enumerate(CSI)
    )
    with pytest.raises(DataFormatError, match="2 transmitters; give mac, one of 00:00:00:00:00:aa"):
        read(lines)
    assert np.array_equal(read(lines, mac="01:00:00:00:00:AA").csi, CSI[1::2])
    with pytest.raises(DataFormatError, match="mac: 02; allowed: 00:00:00:00:00:aa, 01:"):
        read(lines, mac="02")


def test_esp32__carrier(read):
    assert read(GOOD, fc=2.4e9).fc == 2.4e9
    assert read(esp32_file(CSI, number=14)).fc == 2.484e9


LINE = esp32_line(CSI[0, 0], time=0)
DAMAGED = {
    "empty": ("", "an empty file"),
    "binary": (b"\xff\xfe\x00\x01" * 9, "not a text file"),
    "other text": ("a,b\n1,2\n", "no line of 2 starts with 'CSI_DATA,'"),
    "header only": (ESP32_HEADER, "no line of 1 starts with 'CSI_DATA,'"),
    "cut": (LINE * 2 + LINE[:200], "line 3: 25 fields and cut off or damaged CSI; allowed: 25"),
    "cut in the fields": (LINE * 2 + LINE[:50], "line 3: 12 fields and cut off or damaged CSI"),
    "field missing": (LINE.replace(",AP,", ","), "line 1: 24 fields and whole CSI; allowed: 25"),
    "no number": (LINE.replace(" ]", " x ]"), "line 1: 25 fields and cut off or damaged CSI"),
    "channel in words": (LINE.replace(",6,0,0,0,101", ",six,0,0,0,101"), "line 1: invalid literal"),
    "63 tones": (
        esp32_line(CSI[0, 0, :62], time=0),
        "line 1: 124 bytes of CSI of 124; allowed: 128, 256, 376, 380, 384, 612, no more",
    ),
    "more than its length": (LINE.replace(",128,[", ",64,["), "line 1: 128 bytes of CSI of 64"),
    "varying K": (
        LINE + esp32_line(CSI[0, 0], time=1, tail=128),
        "packet 1 has bytes of CSI = 256, packet 0 has 128; allowed: the same",
    ),
    "varying channel": (
        LINE + esp32_line(CSI[0, 0], time=1, second=1),
        "packet 1 has channel = 6 (second 1), packet 0 has 6 (second 0)",
    ),
    "no channel": (
        esp32_line(CSI[0, 0], time=0, number=15) * 2,
        "line 1: channel 15; allowed: 1 to",
    ),
    "both signs of a byte": (
        LINE + esp32_line(CSI[0, 0], time=1, unsigned=True),
        "CSI of -128 to 253; allowed: -128 to 127, or 0 to 255 in all of a file",
    ),
    "no byte": (LINE.replace("[", "[999 ").replace(" ]", "]"), "line 1: 129 bytes of CSI"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_esp32__damage_is_named(case, read, tmp_path):
    content, words = DAMAGED[case]
    with pytest.raises(DataFormatError) as caught:
        read(content)
    assert str(caught.value).startswith(f"{tmp_path / 'csi.csv'}: {words}")


def test_esp32__is_told_from_others():
    assert is_esp32(GOOD)
    assert is_esp32(LINE.encode())
    assert not is_esp32(b"")
    assert not is_esp32(b"type,CSI_DATA,\n")
