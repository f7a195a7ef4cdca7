"""Text captures of the ESP32-CSI-Tool.

Format (the tool's ``csi_component.h`` and the ESP-IDF guide on channel state information): lines
``CSI_DATA,role,mac,...,len,[b b b ... ]`` of 25 fields and the CSI, 2 signed bytes a tone,
imaginary part first; a header line and other output of the board may stand between them. The first
64 tones are the legacy training field: 0 to 31 and -32 to -1, or with a second channel ascending.
Old versions print the bytes unsigned.

A reader of our own: csiread 1.4.1 fails on header and other lines, does not join the two bytes'
signs of old versions, and drops the last digit of a file that does not end in a new line.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_intel import unwrapped
from isac_gym.data.csi_stream import PacketStream, chosen_transmitter, read_content, refuse_varying
from isac_gym.data.csi_tones import channel_hz, fft_tones, legacy_null

__all__ = ["is_esp32", "read_esp32"]

NUM_TONES = 64
_MARK = "CSI_DATA,"
_FIELDS = 25  # before the CSI
_MAC, _CHANNEL, _SECOND, _TIME, _LENGTH = 2, 16, 17, 18, 24
_SIZES = (128, 256, 376, 380, 384, 612)  # bytes: legacy training field; with one or two of 802.11n
_ROUND = 1 << 32  # the clock's
_BYTES = re.compile(r"\[(-?\d{1,3}(?: -?\d{1,3})*) ?\]")  # no two ways to match: linear time


class _Packet(NamedTuple):
    mac: str
    channel: int
    second: int
    time_us: int
    values: np.ndarray


def read_esp32(
    path: Path | str, *, mac: str | None = None, fc: float | None = None
) -> PacketStream:
    """Read one capture.

    Only the legacy training field is taken: it is there in every mode of the board. Its first two
    stored tones are marked as null, since the board may not fill them.

    Args:
        path: The file.
        mac: The transmitter, as ``00:11:22:33:44:55``; None: there must be one only.
        fc: Carrier of the 20 MHz channel, Hz; None: the channel the lines name.

    Raises:
        DataFormatError: The file is empty, cut off, no text, has no such lines; a line has other
            fields or bytes; the transmitter is not clear; or length or channel vary.
    """
    path, content = read_content(path)
    try:
        lines = content.decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise DataFormatError(f"{path}: not a text file: {error}.") from error
    found = [(n, line) for n, line in enumerate(lines, 1) if line.startswith(_MARK)]
    if not found:
        raise DataFormatError(f"{path}: no line of {len(lines)} starts with {_MARK!r}.")
    packets = [_parsed(path, n, line) for n, line in found]
    chosen = chosen_transmitter(path, {p.mac for p in packets}, mac)
    packets = [p for p in packets if p.mac == chosen]
    refuse_varying(path, "bytes of CSI", [len(p.values) for p in packets])
    refuse_varying(path, "channel", [f"{p.channel} (second {p.second})" for p in packets])
    values = _signed(path, np.stack([p.values for p in packets])[:, : 2 * NUM_TONES])
    csi = (values[:, 1::2] + 1j * values[:, ::2]).astype(np.complex64)
    null = legacy_null()
    if packets[0].second == 0:  # no second channel: the order of a Fourier transform
        csi = np.fft.fftshift(csi, axes=-1)
        null[NUM_TONES // 2 : NUM_TONES // 2 + 2] = True
    ticks = np.array([p.time_us % _ROUND for p in packets], np.uint32)
    channel = packets[0].channel
    return PacketStream(
        csi=csi[:, None],
        time_s=unwrapped(ticks) * 1e-6,
        fc=channel_hz(channel, where=f"{path}: line {found[0][0]}") if fc is None else fc,
        tone=fft_tones(NUM_TONES),
        null=null,
        num_dropped=0,
        source=str(path),
    )


def is_esp32(content: bytes) -> bool:
    """Whether a line starts as this format's do."""
    return f"\n{_MARK}".encode() in b"\n" + content


def _parsed(path: Path, number: int, line: str) -> _Packet:
    head, bracket, tail = line.partition("[")
    words = head.rstrip(",").split(",")
    match = _BYTES.fullmatch(bracket + tail.strip())
    if len(words) != _FIELDS or match is None:
        raise DataFormatError(
            f"{path}: line {number}: {len(words)} fields and "
            f"{'whole' if match else 'cut off or damaged'} CSI; allowed: {_FIELDS} fields and "
            "whole numbers in brackets."
        )
    values = np.array(match[1].split(), np.int64)
    try:
        channel, second, time_us, length = (
            int(words[i]) for i in (_CHANNEL, _SECOND, _TIME, _LENGTH)
        )
    except ValueError as error:
        raise DataFormatError(f"{path}: line {number}: {error}.") from error
    if len(values) not in _SIZES or length < len(values):
        raise DataFormatError(
            f"{path}: line {number}: {len(values)} bytes of CSI of {length}; allowed: "
            f"{', '.join(map(str, _SIZES))}, no more than there are."
        )
    return _Packet(words[_MAC].lower(), channel, second, time_us, values)


def _signed(path: Path, values: np.ndarray) -> np.ndarray:
    """Bytes as signed numbers, whether they were printed signed or unsigned."""
    low, high = int(values.min()), int(values.max())
    if low < -128 or high > (255 if low >= 0 else 127):
        raise DataFormatError(
            f"{path}: CSI of {low} to {high}; allowed: -128 to 127, or 0 to 255 in all of a file."
        )
    return np.where(values > 127, values - 256, values)
