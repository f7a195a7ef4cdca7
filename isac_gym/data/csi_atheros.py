"""Logs of the Atheros CSI Tool, decoded by csiread.

Format (the tool's ``csi_fun.c``, ``main.c`` and ``read_csi.c``): records of a 16-bit length and
that many bytes: time in us (64 bit), length of the CSI, channel in MHz, error, noise, rate,
bandwidth, tones, receivers, transmitters, 4 signal strengths, length of the content; the CSI, 10 +
10 bits (imaginary part first, low bits first) for each tone, transmitter and receiver, receivers
fastest; the content. Numbers have the byte order of the device. Logs of the tool's pull request 10
start with one byte more, 0xff for big-endian.
"""

import math
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_stream import (
    PacketStream,
    csiread,
    read_content,
    refuse_cut,
    refuse_varying,
)
from isac_gym.data.csi_tones import used_tones

__all__ = ["is_atheros", "read_atheros"]

_HEADER = 25
_BANDWIDTH = {56: 0, 114: 1}  # tones: code of the bandwidth, 20 or 40 MHz
_WHAT = "log of the Atheros CSI Tool"
_Order = Literal["little", "big"]


class _Packet(NamedTuple):
    body: bytes
    time_us: int
    csi_bytes: int
    channel_mhz: int
    error: int
    bandwidth: int
    tones: int
    receivers: int
    transmitters: int
    content_bytes: int


def read_atheros(path: Path | str, *, fc: float | None = None) -> PacketStream:
    """Read one log.

    Packets without CSI or with a receive error are left out and counted.

    Args:
        path: The file.
        fc: Carrier, Hz; None: the channel the log names.

    Raises:
        DataFormatError: The file is empty, cut off, of another kind, holds fewer than 2 usable
            packets, or antennas, tones or channel vary.
        ModuleNotFoundError: csiread is not installed.
    """
    path, content = read_content(path)
    start, order = _layout(content) or (0, "little")
    packets = _packets(path, content, start, order)
    usable = [p for p in packets if p.csi_bytes and not p.error]
    if not usable:
        raise DataFormatError(
            f"{path}: none of {len(packets)} packets is usable: "
            f"{sum(not p.csi_bytes for p in packets)} have no CSI, the others have errors."
        )
    refuse_varying(path, "K", [p.tones for p in usable])
    links = [f"{p.receivers} x {p.transmitters}" for p in usable]
    refuse_varying(path, "receivers x transmitters", links)
    refuse_varying(path, "channel in MHz", [p.channel_mhz for p in usable])
    for number, packet in enumerate(usable):
        _check(path, number, packet)
    return PacketStream(
        csi=_decode(usable, order),
        time_s=np.array([p.time_us - usable[0].time_us for p in usable]) * 1e-6,
        fc=usable[0].channel_mhz * 1e6 if fc is None else fc,
        tone=used_tones(usable[0].tones),
        null=np.zeros(usable[0].tones, bool),
        num_dropped=len(packets) - len(usable),
        source=str(path),
    )


def is_atheros(content: bytes) -> bool:
    """Whether the first record looks like one of this format."""
    return _layout(content) is not None


def _decode(packets: list[_Packet], order: _Order) -> np.ndarray:
    """CSI of each packet, (T, P, K) complex64."""
    first = packets[0]
    receivers, transmitters, tones = first.receivers, first.transmitters, first.tones
    parser = csiread().Atheros(
        None, nrxnum=receivers, ntxnum=transmitters, tones=tones, if_report=False
    )
    csi = np.empty((len(packets), tones, receivers * transmitters), np.complex64)
    for row, packet in zip(csi, packets, strict=True):
        parser.pmsg(packet.body + bytes(4), order)  # it reads whole words
        # csiread takes the transmitters to be fastest, the tool writes the receivers fastest: its
        # (receiver, transmitter) pairs in their order are our links, transmitter * receivers + r.
        row[:] = parser.csi[0].reshape(tones, -1)
    return csi.transpose(0, 2, 1)


def _layout(content: bytes) -> tuple[int, _Order] | None:
    """Where the first record starts and its byte order; None if neither order fits."""
    marked: _Order = "big" if content[:1] == b"\xff" else "little"
    candidates: list[tuple[int, _Order]] = [(0, "little"), (0, "big"), (1, marked)]
    for start, order in candidates:
        length = int.from_bytes(content[start : start + 2], order)
        body = content[start + 2 : start + 2 + length]
        if len(body) >= _HEADER:
            packet = _parsed(body, order)
            if length == _HEADER + packet.csi_bytes + packet.content_bytes:
                return start, order
    return None


def _packets(path: Path, content: bytes, start: int, order: _Order) -> list[_Packet]:
    packets: list[_Packet] = []
    while start < len(content):
        left, number = len(content) - start, len(packets)
        refuse_cut(path, number, start, needed=2 + _HEADER, found=left, what=_WHAT)
        length = int.from_bytes(content[start : start + 2], order)
        refuse_cut(path, number, start, needed=2 + length, found=left, what=_WHAT)
        packet = _parsed(content[start + 2 : start + 2 + max(length, _HEADER)], order)
        needed = _HEADER + packet.csi_bytes + packet.content_bytes
        if length != needed:
            raise DataFormatError(
                f"{path}: record {number} at byte {start} has {length} bytes; its header "
                f"({_HEADER}), CSI ({packet.csi_bytes}) and content ({packet.content_bytes}) need "
                f"{needed}: "
                f"damaged or not a {_WHAT}."
            )
        packets.append(packet)
        start += 2 + length
    return packets


def _parsed(body: bytes, order: _Order) -> _Packet:
    def number(at: int, size: int = 2) -> int:
        return int.from_bytes(body[at : at + size], order)

    return _Packet(
        body=body,
        time_us=number(0, 8),
        csi_bytes=number(8),
        channel_mhz=number(10),
        error=body[12],
        bandwidth=body[15],
        tones=body[16],
        receivers=body[17],
        transmitters=body[18],
        content_bytes=number(23),
    )


def _check(path: Path, number: int, packet: _Packet) -> None:
    """Complain unless tones, bandwidth, antennas, channel and size agree."""
    if _BANDWIDTH.get(packet.tones) != packet.bandwidth:
        raise DataFormatError(
            f"{path}: packet {number} has K = {packet.tones} tones at bandwidth code "
            f"{packet.bandwidth}; allowed: 56 at code 0, 114 at code 1."
        )
    if not (1 <= packet.receivers <= 3 and 1 <= packet.transmitters <= 3):
        raise DataFormatError(
            f"{path}: packet {number} has {packet.receivers} receivers and {packet.transmitters} "
            "transmitters; allowed: 1 to 3 each."
        )
    if not 2400 <= packet.channel_mhz <= 6000:
        raise DataFormatError(
            f"{path}: packet {number} is on {packet.channel_mhz} MHz; allowed: 2400 to 6000."
        )
    needed = math.ceil(packet.tones * packet.receivers * packet.transmitters * 20 / 8)
    if packet.csi_bytes < needed:
        raise DataFormatError(
            f"{path}: packet {number} has {packet.csi_bytes} bytes of CSI; {packet.tones} tones of "
            f"{packet.receivers} x {packet.transmitters} antennas need {needed}."
        )
