"""Captures of nexmon_csi (Broadcom chips), decoded by csiread.

Format (the tool's README): a pcap file of UDP packets to port 5500. The content is magic bytes
0x1111 (old firmware: 0x11111111; new: then signal strength and frame control), the transmitter's
address, a sequence number, core (3 bits) and spatial stream (3 bits), channel specification and
chip, then 4 bytes for each of 64, 128 or 256 tones in the order of a Fourier transform. One packet
is one core and stream; those of one frame share the sequence number. Guard, carrier and pilot tones
hold arbitrary values.
"""

import struct
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi_stream import (
    PacketStream,
    chosen_transmitter,
    csiread,
    read_content,
    refuse_cut,
    refuse_varying,
)
from isac_gym.data.csi_tones import channel_hz, fft_tones, wide_null

__all__ = ["CHIPS", "is_nexmon", "read_nexmon"]

CHIPS = {0x01: "4339", 0x65: "43455c0", 0x03: "4358", 0x6A: "4366c0"}  # number in the packet: name
_MAGIC: dict[bytes, tuple[Literal["<", ">"], float]] = {  # byte order, unit of the fraction
    b"\xd4\xc3\xb2\xa1": ("<", 1e-6),
    b"\xa1\xb2\xc3\xd4": (">", 1e-6),
    b"\x4d\x3c\xb2\xa1": ("<", 1e-9),
    b"\xa1\xb2\x3c\x4d": (">", 1e-9),
}
_FILE_HEADER, _RECORD_HEADER = 24, 16
_ETHERNET, _UDP, _PORT = 1, 17, 5500
_NETWORK, _HEADER = 42, 18  # bytes of Ethernet, IP and UDP; of the tool
_WIDTH = {64: 0x1000, 128: 0x1800, 256: 0x2000}  # tones: bits 11 to 13 of the specification
_WIDTH_BITS = 0x3800
_WHAT = "pcap file"


class _Packet(NamedTuple):
    content: bytes
    seconds: int
    fraction: int
    mac: str
    frame: int
    core: int
    stream: int
    channel: int
    chip: int
    tones: int


def read_nexmon(
    path: Path | str, *, chip: str | None = None, mac: str | None = None, fc: float | None = None
) -> PacketStream:
    """Read one capture.

    Frames of which a core or stream is missing are left out and their packets counted.

    Args:
        path: The file.
        chip: ``4339``, ``43455c0``, ``4358`` or ``4366c0``; None: what the packets say.
        mac: The transmitter, as ``00:11:22:33:44:55``; None: there must be one only.
        fc: Carrier, Hz; None: the centre of the channel the packets name.

    Raises:
        DataFormatError: The file is empty, cut off, of another kind; chip or transmitter are not
            clear; tones or channel vary; tones and channel width disagree; or there are fewer than
            2 whole frames.
        ModuleNotFoundError: csiread is not installed.
    """
    path, content = read_content(path)
    packets = _packets(path, content)
    chosen = chosen_transmitter(path, {p.mac for p in packets}, mac)
    packets = [p for p in packets if p.mac == chosen]
    refuse_varying(path, "K", [p.tones for p in packets])
    refuse_varying(path, "channel specification", [f"0x{p.channel:04x}" for p in packets])
    tones, channel = packets[0].tones, packets[0].channel
    if channel & _WIDTH_BITS != _WIDTH[tones]:
        raise DataFormatError(
            f"{path}: K = {tones} tones in channel specification 0x{channel:04x}; allowed: width "
            f"bits 0x{_WIDTH[tones]:04x}, found 0x{channel & _WIDTH_BITS:04x}."
        )
    frames, num_links = _frames(path, packets)
    csi = _decode([p for f in frames for p in f], _chip(path, packets, chip))
    return PacketStream(
        csi=csi.reshape(len(frames), num_links, tones),
        time_s=_times([frame[0] for frame in frames], _MAGIC[content[:4]][1]),
        fc=channel_hz(channel & 0xFF, where=f"{path}: packet 0") if fc is None else fc,
        tone=fft_tones(tones),
        null=wide_null(tones),
        num_dropped=len(packets) - len(frames) * num_links,
        source=str(path),
    )


def is_nexmon(content: bytes) -> bool:
    """Whether it starts like a pcap file."""
    return content[:4] in _MAGIC


def _packets(path: Path, content: bytes) -> list[_Packet]:
    if content[:4] not in _MAGIC:
        allowed = ", ".join(magic.hex() for magic in _MAGIC)
        raise DataFormatError(f"{path}: magic number {content[:4].hex()}; allowed: {allowed}.")
    refuse_cut(path, 0, 0, needed=_FILE_HEADER, found=len(content), what=_WHAT)
    order, _ = _MAGIC[content[:4]]
    (link,) = struct.unpack_from(f"{order}I", content, 20)
    if link != _ETHERNET:
        raise DataFormatError(f"{path}: link type {link}; allowed: {_ETHERNET} (Ethernet).")
    packets: list[_Packet] = []
    start, number = _FILE_HEADER, 0
    while start < len(content):
        left = len(content) - start
        refuse_cut(path, number, start, needed=_RECORD_HEADER, found=left, what=_WHAT)
        seconds, fraction, size, _ = struct.unpack_from(f"{order}4I", content, start)
        refuse_cut(path, number, start, needed=_RECORD_HEADER + size, found=left, what=_WHAT)
        body = content[start + _RECORD_HEADER : start + _RECORD_HEADER + size]
        if _is_csi(body):
            packets.append(_parsed(path, number, body[_NETWORK:], seconds, fraction))
        start, number = start + _RECORD_HEADER + size, number + 1
    if not packets:
        raise DataFormatError(
            f"{path}: no CSI in {number} packets; allowed: UDP to port {_PORT} that starts with "
            "0x1111."
        )
    return packets


def _is_csi(body: bytes) -> bool:
    return (
        len(body) >= _NETWORK + _HEADER
        and body[12:14] == b"\x08\x00"
        and body[23] == _UDP
        and int.from_bytes(body[36:38], "big") == _PORT
        and body[_NETWORK : _NETWORK + 2] == b"\x11\x11"
    )


def _parsed(path: Path, number: int, content: bytes, seconds: int, fraction: int) -> _Packet:
    tones, rest = divmod(len(content) - _HEADER, 4)
    if tones not in _WIDTH or rest:
        allowed = ", ".join(str(4 * tones) for tones in _WIDTH)
        raise DataFormatError(
            f"{path}: packet {number} has {len(content) - _HEADER} bytes of CSI; allowed: "
            f"{allowed} (4 for each of 64, 128 or 256 tones)."
        )
    frame, link, channel, chip = struct.unpack_from("<4H", content, 10)
    return _Packet(
        content=content,
        seconds=seconds,
        fraction=fraction,
        mac=content[4:10].hex(":"),
        frame=frame,
        core=link & 7,
        stream=link >> 3 & 7,
        channel=channel,
        chip=chip,
        tones=tones,
    )


def _chip(path: Path, packets: list[_Packet], chip: str | None) -> str:
    number = packets[0].chip
    name = CHIPS.get(number, f"not known by its number 0x{number:04x}") if chip is None else chip
    if name not in CHIPS.values():
        raise DataFormatError(f"{path}: chip: {name}; allowed: {', '.join(CHIPS.values())}.")
    return name


def _frames(path: Path, packets: list[_Packet]) -> tuple[list[list[_Packet]], int]:
    """Whole frames, each in the order of its links; and how many links there are."""
    links = sorted({(p.stream, p.core) for p in packets})
    groups: list[dict[tuple[int, int], _Packet]] = []
    for packet in packets:
        link = (packet.stream, packet.core)
        last = groups[-1] if groups else {}
        follows = last and next(iter(last.values())).frame == packet.frame and link not in last
        if not follows:
            groups.append({})
        groups[-1][link] = packet
    frames = [[group[link] for link in links] for group in groups if len(group) == len(links)]
    if not frames:
        raise DataFormatError(
            f"{path}: none of {len(groups)} frames has all {len(links)} links (streams x cores) "
            "that occur in the file."
        )
    return frames, len(links)


def _times(packets: list[_Packet], unit: float) -> np.ndarray:
    """Seconds since the first packet, (T,) float64."""
    clock = np.array([(p.seconds, p.fraction) for p in packets], np.int64)
    whole, fraction = (clock - clock[0]).T
    return whole + fraction * unit


def _decode(packets: list[_Packet], chip: str) -> np.ndarray:
    """CSI of each packet, (n, K) complex64, tones ascending."""
    tones = packets[0].tones
    parser = csiread().Nexmon(None, chip=chip, bw=tones * 5 // 16, if_report=False)
    csi = np.empty((len(packets), tones), np.complex64)
    for row, packet in zip(csi, packets, strict=True):
        parser.pmsg(b"\x11" * 4 + packet.content[4:])  # it knows the old magic bytes only
        row[:] = parser.csi[0]
    return np.fft.fftshift(csi, axes=-1)
