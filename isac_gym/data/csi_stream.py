"""What a capture file holds: packets in the order they came, cut into windows on request."""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Self

import numpy as np
import torch
from torch import Tensor

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi import MIN_PACKETS, CSIRecording
from isac_gym.data.csi_tones import SPACING_HZ

__all__ = [
    "PacketStream",
    "chosen_transmitter",
    "csiread",
    "read_content",
    "record",
    "refuse_cut",
    "refuse_varying",
]


@dataclass(frozen=True, eq=False, kw_only=True)
class PacketStream:
    """The packets of one capture file.

    Attributes:
        csi: (T, P, K) complex64; link = transmitter * receivers + receiver, tones ascending.
        time_s: When each packet came, (T,) float64, s, on the clock of the device.
        fc: Carrier, Hz.
        tone: Number of each tone from the carrier, (K,) int, 312.5 kHz apart.
        null: (K,) bool; True where a tone carries no channel.
        num_dropped: Packets left out because the device marked them as unusable.
        source: Which file.
    """

    csi: np.ndarray
    time_s: np.ndarray
    fc: float
    tone: np.ndarray
    null: np.ndarray
    num_dropped: int
    source: str

    @property
    def fs(self) -> float:
        """Packets per second: one over the median distance, Hz.

        Raises:
            DataFormatError: There are fewer than two packets, or time stands still.
        """
        if len(self.time_s) < MIN_PACKETS:
            raise DataFormatError(
                f"{self.source}: {len(self.time_s)} packets; allowed: at least {MIN_PACKETS}."
            )
        step = float(np.median(np.diff(self.time_s)))
        if step <= 0:
            raise DataFormatError(
                f"{self.source}: the median distance of packets is {step} s; allowed: above 0."
            )
        return 1 / step

    def thinned(self, every: int) -> Self:
        """One packet in ``every``, the last one included.

        Raises:
            DataFormatError: ``every`` is below 1.
        """
        if every < 1:
            raise DataFormatError(f"{self.source}: every: {every}; allowed: 1 or more.")
        kept = slice((len(self.csi) - 1) % every, None, every)
        return replace(self, csi=self.csi[kept], time_s=self.time_s[kept])

    def windows(self, num_packets: int | None = None, *, hop: int | None = None) -> list[Tensor]:
        """Cut the stream.

        Args:
            num_packets: Packets of a window; None: all of them in one window.
            hop: Packets from the start of a window to that of the next; None: no overlap.

        Returns:
            The windows that fit whole, (num_packets, P, K) complex64 each.

        Raises:
            DataFormatError: There are fewer packets than one window needs.
        """
        count = len(self.csi) if num_packets is None else num_packets
        hop = count if hop is None else hop
        if num_packets is not None and not (num_packets >= MIN_PACKETS and hop >= 1):
            raise DataFormatError(
                f"windows of {num_packets} packets every {hop}; allowed: at least {MIN_PACKETS} "
                "packets, every 1 or more."
            )
        if len(self.csi) < max(count, MIN_PACKETS):
            raise DataFormatError(
                f"{self.source}: {len(self.csi)} packets; a window needs {max(count, MIN_PACKETS)}."
            )
        csi = torch.from_numpy(np.ascontiguousarray(self.csi))
        return [csi[start : start + count] for start in range(0, len(csi) - count + 1, hop)]


def record(
    streams: Sequence[PacketStream],
    *,
    num_packets: int | None = None,
    hop: int | None = None,
    loc: Sequence[tuple[float, float]] | Sequence[int] | None = None,
    sen: Sequence[float] | Sequence[int] | None = None,
    session: Sequence[int] | None = None,
    loc_names: tuple[str, ...] = (),
    sen_names: tuple[str, ...] = (),
    source: str = "recording",
) -> CSIRecording:
    """Windows of one or more capture files of the same device setting.

    Args:
        streams: The files.
        num_packets: Packets of a window; None: each file is one window.
        hop: See ``PacketStream.windows``.
        loc: Label of each file: positions in m, or numbers of places.
        sen: Label of each file: class numbers (int) or rates in Hz (float).
        session: Session of each file; None: each file is one.
        loc_names: Name of each place.
        sen_names: Name of each class.
        source: What to call the recording.

    Raises:
        DataFormatError: The files disagree in tones, carrier, links; labels do not match the
            files; or see ``CSIRecording``.
    """
    if not streams:
        raise DataFormatError(f"{source}: no capture file.")
    for name, labels in (("loc", loc), ("sen", sen), ("session", session)):
        if labels is not None and len(labels) != len(streams):
            raise DataFormatError(
                f"{source}: {name}: {len(labels)} labels for {len(streams)} files; allowed: one "
                "each."
            )
    first = streams[0]
    for stream in streams[1:]:
        _refuse_other(stream, first)
    cut = [stream.windows(num_packets, hop=hop) for stream in streams]
    owner = [i for i, windows in enumerate(cut) for _ in windows]
    return CSIRecording.from_windows(
        [window for windows in cut for window in windows],
        names=[
            f"{streams[i].source}, window {n}" for i, w in enumerate(cut) for n in range(len(w))
        ],
        fs=float(np.median([stream.fs for stream in streams])),
        fc=first.fc,
        freqs=torch.from_numpy(first.fc + SPACING_HZ * first.tone),
        null=torch.from_numpy(first.null).expand(first.csi.shape[1], -1).contiguous(),
        loc=_labels(loc, owner),
        sen=_labels(sen, owner),
        session=_labels(range(len(streams)) if session is None else session, owner),
        loc_names=loc_names,
        sen_names=sen_names,
        source=source,
        num_dropped=sum(stream.num_dropped for stream in streams),
    )


def _refuse_other(stream: PacketStream, first: PacketStream) -> None:
    """Complain if a file was captured in another setting than the first."""
    for name, found, expected in (
        ("K", stream.csi.shape[2], first.csi.shape[2]),
        ("P", stream.csi.shape[1], first.csi.shape[1]),
        ("carrier", stream.fc, first.fc),
        ("tones", stream.tone.tolist(), first.tone.tolist()),
    ):
        if found != expected:
            raise DataFormatError(
                f"{stream.source}: {name} = {found}, {first.source} has {name} = {expected}; "
                "allowed: the same in all files."
            )


def _labels(labels: Sequence | None, owner: list[int]) -> Tensor | None:
    """The label of the file each window came from; int64 for whole numbers, else float32."""
    if labels is None:
        return None
    found = torch.as_tensor(np.asarray(labels))
    return (found.float() if found.is_floating_point() else found.long())[torch.tensor(owner)]


# --- what the readers share ---------------------------------------------------------------------


def csiread() -> ModuleType:
    """The parser library.

    Raises:
        ModuleNotFoundError: It is not installed; the message has the line that installs it.
    """
    try:
        import csiread
    except ModuleNotFoundError as err:
        message = 'this capture format needs csiread: pip install "isac_gym[csi]"'
        raise ModuleNotFoundError(message, name="csiread") from err
    return csiread


def read_content(path: Path | str) -> tuple[Path, bytes]:
    """The bytes of a capture file.

    Raises:
        DataFormatError: There is no such file, it cannot be read, or it is empty.
    """
    path = Path(path)
    if not path.is_file():
        raise DataFormatError(f"{path}: no such file.")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataFormatError(f"{path}: unreadable: {error}.") from error
    if not content:
        raise DataFormatError(f"{path}: an empty file; allowed: at least {MIN_PACKETS} packets.")
    return path, content


def refuse_cut(path: Path, number: int, start: int, *, needed: int, found: int, what: str) -> None:
    """Complain that the file ends within record ``number``, which starts at byte ``start``."""
    if found >= needed:
        return
    advice = f"the {number} records before it end at byte {start}" if number else f"is it a {what}?"
    raise DataFormatError(
        f"{path}: record {number} at byte {start} needs {needed} bytes, {found} follow: cut off or "
        f"not a {what}; {advice}."
    )


def refuse_varying(path: Path, name: str, values: Sequence) -> None:
    """Complain unless a setting is the same in all packets of a file."""
    for number, value in enumerate(values):
        if value != values[0]:
            raise DataFormatError(
                f"{path}: packet {number} has {name} = {value}, packet 0 has {values[0]}; allowed: "
                "the same in all packets of a file."
            )


def chosen_transmitter(path: Path, macs: Set[str], mac: str | None) -> str:
    """The transmitter to keep, among the lower-case addresses found in a file.

    Raises:
        DataFormatError: ``mac`` is none of them, or is None although there are several.
    """
    found = ", ".join(sorted(macs)[:8])
    if mac is None and len(macs) > 1:
        raise DataFormatError(f"{path}: {len(macs)} transmitters; give mac, one of {found}.")
    chosen = min(macs) if mac is None else mac.lower()
    if chosen not in macs:
        raise DataFormatError(f"{path}: mac: {chosen}; allowed: {found}.")
    return chosen
