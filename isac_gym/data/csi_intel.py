"""Logs of the Linux 802.11n CSI Tool (Intel 5300), decoded by csiread.

Format (the tool's ``read_bf_file.m`` and ``read_bfee.c``): records of a big-endian 16-bit length,
a code and the rest. Code 0xbb is one packet: 1 MHz clock (32 bit), count, 2 spare bytes, receivers,
streams, 3 signal strengths, noise, gain, antenna order (2 bits each), payload length, rate, then 30
tones of 3 spare bits and 8 + 8 bits for each receiver and stream, streams fastest. All of it is
checked here, since csiread trusts its input.
"""

from pathlib import Path

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_stream import (
    PacketStream,
    csiread,
    read_content,
    refuse_cut,
    refuse_varying,
)
from isac_gym.data.csi_tones import grouped_tones

__all__ = ["is_intel", "read_intel"]

NUM_TONES = 30
_PACKET, _HEADER, _WIDE = 0xBB, 20, 0x800
_KNOWN = (0xBB, 0xC1)  # a packet's channel, a packet's content
_ORDER = 15  # which byte of the header has the antenna order
_WHAT = "log of the Linux 802.11n CSI Tool"


def read_intel(path: Path | str, *, fc: float | None) -> PacketStream:
    """Read one log.

    Args:
        path: The file.
        fc: Carrier, Hz; the format does not hold it.

    Raises:
        DataFormatError: No carrier was given; or the file is empty, cut off, of another kind,
            holds fewer than 2 packets, or antennas or bandwidth vary.
        ModuleNotFoundError: csiread is not installed.
    """
    path, content = read_content(path)
    packets = [_checked(path, n, p) for n, p in enumerate(_packets(path, content))]
    if fc is None:
        raise DataFormatError(f"{path}: this format does not hold the carrier; give fc in Hz.")
    refuse_varying(path, "receivers x streams", [f"{p[8]} x {p[9]}" for p in packets])
    widths = [40 if int.from_bytes(p[18:20], "little") & _WIDE else 20 for p in packets]
    refuse_varying(path, "bandwidth in MHz", widths)
    receivers, streams = packets[0][8], packets[0][9]
    ordered = [found for found in map(_ranked, packets) if found is not None]
    if not ordered:
        raise DataFormatError(f"{path}: no packet with a valid antenna order.")
    parser = csiread().Intel(None, nrxnum=receivers, ntxnum=streams, if_report=False)
    csi = np.empty((len(ordered), NUM_TONES, receivers, streams), np.complex64)
    for row, packet in zip(csi, ordered, strict=True):
        parser.pmsg(bytes((_PACKET,)) + packet)
        row[:] = parser.csi[0]
    ticks = np.array([int.from_bytes(p[:4], "little") for p in ordered], np.uint32)
    return PacketStream(
        csi=csi.transpose(0, 3, 2, 1).reshape(len(csi), streams * receivers, NUM_TONES),
        time_s=unwrapped(ticks) * 1e-6,
        fc=fc,
        tone=grouped_tones(widths[0]),
        null=np.zeros(NUM_TONES, bool),
        num_dropped=len(packets) - len(ordered),
        source=str(path),
    )


def is_intel(content: bytes) -> bool:
    """Whether the first record looks like one of this format."""
    length = int.from_bytes(content[:2], "big")
    return len(content) > 2 and content[2] in _KNOWN and 1 <= length <= len(content) - 2


def unwrapped(ticks: np.ndarray) -> np.ndarray:
    """Readings of a 32-bit counter, (T,) uint32, as a count from the first one, (T,) int64.

    A step may be up to half the range in either direction.
    """
    return np.r_[0, np.cumsum(np.diff(ticks).astype(np.int32), dtype=np.int64)]


def _packets(path: Path, content: bytes) -> list[bytes]:
    """What follows the code of each packet record."""
    packets, codes = [], set()
    start = number = 0
    while start < len(content):
        left = len(content) - start
        refuse_cut(path, number, start, needed=3, found=left, what=_WHAT)
        length = int.from_bytes(content[start : start + 2], "big")
        refuse_cut(path, number, start, needed=max(length, 1) + 2, found=left, what=_WHAT)
        codes.add(content[start + 2])
        if content[start + 2] == _PACKET:
            packets.append(content[start + 3 : start + 2 + length])
        start, number = start + 2 + max(length, 1), number + 1
    if not packets:
        found = ", ".join(f"0x{code:02x}" for code in sorted(codes)[:8])
        raise DataFormatError(f"{path}: no packet (code 0xbb) in {number} records; codes {found}.")
    return packets


def _checked(path: Path, number: int, packet: bytes) -> bytes:
    """The packet, if its sizes agree."""
    if len(packet) < _HEADER:
        raise DataFormatError(
            f"{path}: packet {number} has {len(packet)} bytes, its header needs {_HEADER}."
        )
    receivers, streams = packet[8], packet[9]
    if not (1 <= receivers <= 3 and 1 <= streams <= 3):
        raise DataFormatError(
            f"{path}: packet {number} has {receivers} receivers and {streams} streams; allowed: 1 "
            "to 3 each."
        )
    length, found = int.from_bytes(packet[16:18], "little"), len(packet) - _HEADER
    needed = (NUM_TONES * (receivers * streams * 16 + 3) + 7) // 8
    if not length == found == needed:
        raise DataFormatError(
            f"{path}: packet {number} says {length} bytes and has {found}; {NUM_TONES} tones of "
            f"{receivers} x {streams} antennas need {needed}."
        )
    return packet


def _ranked(packet: bytes) -> bytes | None:
    """The packet with its antennas numbered 0, 1, 2 in their order; None if two are the same."""
    order = [packet[_ORDER] >> 2 * j & 3 for j in range(packet[8])]
    if len(set(order)) < len(order):
        return None
    rank = sum(sorted(order).index(antenna) << 2 * j for j, antenna in enumerate(order))
    return packet[:_ORDER] + bytes((rank,)) + packet[_ORDER + 1 :]
