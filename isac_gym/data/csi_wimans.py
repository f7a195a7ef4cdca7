"""WiMANS: recordings of one to five users in three rooms, both layouts of the public data set.

Layout (the data set's README, ``load_data.py`` and ``dat_to_mat.m``): ``annotation.csv`` with one
line per window (label, environment, wifi_band, number_of_users, location and activity of each
user) and, in ``wifi_csi``, ``mat/<label>.mat`` (key ``trace``: one structure per packet, whose last
field is the CSI, 3 transmitters x 3 receivers x 30 tones) or ``amp/<label>.npy`` (its amplitude,
packets x 3 x 3 x 30; its loader fills windows with zero packets in front, and such are taken as
padding). The files do not hold the channel: the carrier is nominal, the tones are those of a 20 MHz
channel unless the packets say 40 MHz.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi import CSIRecording
from isac_gym.data.csi_stream import read_content, refuse_varying
from isac_gym.data.csi_tones import SPACING_HZ, grouped_tones

__all__ = ["ACTIVITIES", "PLACES", "is_wimans", "load_wimans"]

PLACES = ("a", "b", "c", "d", "e")
ACTIVITIES = (
    "nothing",
    "walk",
    "rotation",
    "jump",
    "wave",
    "lie_down",
    "pick_up",
    "sit_down",
    "stand_up",
)
ANNOTATION = "annotation.csv"
_FOLDERS: dict[str, tuple[str, str]] = {
    "amp": ("wifi_csi/amp", ".npy"),
    "mat": ("wifi_csi/mat", ".mat"),
}
_CARRIER = {"2.4": 2.4e9, "5": 5e9}  # nominal
_USERS = range(1, 7)
_PACKET_RATE = 1000.0  # Hz: 3000 packets in 3 s
_ANTENNAS, _TONES, _WIDE = (3, 3), 30, 0x800


class _Line(NamedTuple):
    label: str
    environment: str
    band: str
    place: str
    activity: str

    @property
    def session(self) -> str:
        """Label without its last number: one run of recordings of one user."""
        return self.label.rpartition("_")[0]


def load_wimans(
    folder: Path | str,
    *,
    layout: Literal["amp", "mat"] | None = None,
    environment: str | None = None,
    band: str = "5",
    sessions: Sequence[str] | None = None,
    every: int = 1,
    fc: float | None = None,
) -> CSIRecording:
    """Read the windows of one user.

    Place and activity become numbers of ``PLACES`` and ``ACTIVITIES``; one session is one run of
    recordings, ``act_1`` for the labels ``act_1_1``, ``act_1_2``, ...

    Args:
        folder: Where ``annotation.csv`` is.
        layout: ``amp`` (amplitudes) or ``mat`` (complex); None: the first that is there.
        environment: ``classroom``, ``meeting_room`` or ``empty_room``; None: all.
        band: ``2.4`` or ``5``, GHz.
        sessions: Such as ``["act_1", "act_3"]``; None: all.
        every: Keep one packet in so many, counted from the last one.
        fc: Carrier, Hz; None: the nominal one of the band.

    Raises:
        DataFormatError: The annotation or a file is missing, damaged or disagrees; no window fits
            the choice.
    """
    folder = Path(folder)
    if band not in _CARRIER:
        raise DataFormatError(f"{folder}: band: {band}; allowed: {', '.join(_CARRIER)} (GHz).")
    if every < 1:
        raise DataFormatError(f"{folder}: every: {every}; allowed: 1 or more.")
    lines = _chosen(folder / ANNOTATION, environment, band, sessions)
    where, ending = _place(folder, layout)
    missing = [line.label for line in lines if not (where / f"{line.label}{ending}").is_file()]
    if missing:
        raise DataFormatError(
            f"{where}: {len(missing)} of the {len(lines)} chosen labels have no file, first "
            f"{missing[0]}{ending}; allowed: one each."
        )
    paths = [where / f"{line.label}{ending}" for line in lines]
    windows, widths = [], []
    for path in paths:
        csi, width = _read_mat(path) if ending == ".mat" else (_read_amp(path), 20)
        windows.append(torch.from_numpy(np.ascontiguousarray(csi[::-1][::every][::-1])))
        widths.append(width)
    refuse_varying(where, "bandwidth in MHz", widths)
    carrier = _CARRIER[band] if fc is None else fc
    names = list(dict.fromkeys(line.session for line in lines))
    return CSIRecording.from_windows(
        windows,
        names=[path.name for path in paths],
        fs=_PACKET_RATE / every,
        fc=carrier,
        freqs=torch.from_numpy(carrier + SPACING_HZ * grouped_tones(widths[0])),
        loc=_numbers([line.place for line in lines], PLACES),
        sen=_numbers([line.activity for line in lines], ACTIVITIES),
        session=_numbers([line.session for line in lines], names),
        loc_names=PLACES,
        sen_names=ACTIVITIES,
        source=str(folder),
    )


def is_wimans(folder: Path) -> bool:
    """Whether a folder has the annotation and one of the two layouts."""
    return (folder / ANNOTATION).is_file() and any(
        (folder / where).is_dir() for where, _ in _FOLDERS.values()
    )


def _numbers(words: Sequence[str], names: Sequence[str]) -> Tensor:
    return torch.tensor([names.index(word) for word in words])


def _place(folder: Path, layout: str | None) -> tuple[Path, str]:
    chosen = [layout] if layout else list(_FOLDERS)
    for name in chosen:
        if name not in _FOLDERS:
            raise DataFormatError(f"{folder}: layout: {name}; allowed: {', '.join(_FOLDERS)}.")
        if (folder / _FOLDERS[name][0]).is_dir():
            return folder / _FOLDERS[name][0], _FOLDERS[name][1]
    looked = ", ".join(str(folder / _FOLDERS[name][0]) for name in chosen)
    raise DataFormatError(f"{folder}: no CSI; looked in {looked}.")


# --- annotation ---------------------------------------------------------------------------------


def _chosen(
    path: Path, environment: str | None, band: str, sessions: Sequence[str] | None
) -> list[_Line]:
    lines = _annotation(path)
    known = sorted({line.environment for line in lines})
    if environment not in (None, *known):
        raise DataFormatError(f"{path}: environment: {environment}; there are {', '.join(known)}.")
    fits = [x for x in lines if x.band == band and environment in (None, x.environment)]
    if sessions is not None:
        absent = sorted(set(sessions) - {line.session for line in fits})
        if absent:
            raise DataFormatError(f"{path}: no line of session {absent[0]} fits the choice.")
        fits = [line for line in fits if line.session in sessions]
    if not fits:
        raise DataFormatError(
            f"{path}: none of {len(lines)} lines with one user is of band {band} and environment "
            f"{environment or 'any'}."
        )
    return fits


def _annotation(path: Path) -> list[_Line]:
    """The lines with one user."""
    path, content = read_content(path)
    try:
        table = csv.DictReader(content.decode("utf-8").splitlines())
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFormatError(f"{path}: not a CSV file: {error}.") from error
    kinds = ("location", "activity")
    expected = [f"user_{i}_{kind}" for kind in kinds for i in _USERS]
    expected += ["label", "environment", "wifi_band", "number_of_users"]
    missing = [name for name in expected if name not in (table.fieldnames or ())]
    if missing:
        raise DataFormatError(f"{path}: no column {missing[0]}; allowed: {', '.join(expected)}.")
    lines = []
    for number, row in enumerate(rows, 2):
        if None in row or None in row.values():
            raise DataFormatError(f"{path}: line {number} has not as many fields as the header.")
        if row["number_of_users"] == "1":
            lines.append(_line(path, number, row))
    labels = [line.label for line in lines]
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise DataFormatError(f"{path}: label {twice} is there twice; allowed: once.")
    return lines


def _line(path: Path, number: int, row: dict[str, str]) -> _Line:
    values = []
    for kind, allowed in (("location", PLACES), ("activity", ACTIVITIES)):
        found = [row[f"user_{i}_{kind}"] for i in _USERS if row[f"user_{i}_{kind}"]]
        if len(found) != 1 or found[0] not in allowed:
            raise DataFormatError(
                f"{path}: line {number}: {kind} {', '.join(found) or 'missing'} of one user; "
                f"allowed: one of {', '.join(allowed)}."
            )
        values.append(found[0])
    label = row["label"]
    if Path(label).name != label or not label:
        raise DataFormatError(f"{path}: line {number}: label {label!r}; allowed: a file name.")
    return _Line(label, row["environment"], row["wifi_band"], *values)


# --- files --------------------------------------------------------------------------------------


def _read_amp(path: Path) -> np.ndarray:
    """Amplitudes (T, P, K) float32."""
    read_content(path)
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataFormatError(f"{path}: damaged or not an array file: {error}.") from error
    if not isinstance(found, np.ndarray):
        raise DataFormatError(f"{path}: an archive of arrays; allowed: one array.")
    if found.ndim != 4 or found.shape[1:] != (*_ANTENNAS, _TONES) or found.dtype.kind != "f":
        size = " x ".join(map(str, found.shape))
        raise DataFormatError(
            f"{path}: {size} {found.dtype}; allowed: packets x 3 x 3 x {_TONES}, real."
        )
    return found.astype(np.float32).reshape(len(found), -1, _TONES)


def _read_mat(path: Path) -> tuple[np.ndarray, int]:
    """CSI (T, P, K) complex64 and the bandwidth in MHz."""
    from scipy.io import loadmat

    read_content(path)
    try:
        found = loadmat(path, variable_names=["trace"])
    except NotImplementedError as error:
        raise DataFormatError(f"{path}: a MATLAB 7.3 file; allowed: up to version 7.2.") from error
    except Exception as error:  # damaged files raise anything
        raise DataFormatError(f"{path}: damaged or not a MATLAB file: {error}.") from error
    if "trace" not in found:
        raise DataFormatError(f"{path}: no variable trace.")
    trace = found["trace"]
    if trace.dtype != object or trace.size == 0:
        raise DataFormatError(f"{path}: trace is {trace.dtype}, size {trace.size}; allowed: cells.")
    packets = [_packet(path, n, cell) for n, cell in enumerate(trace.ravel())]
    widths = [width for _, width in packets]
    refuse_varying(path, "bandwidth in MHz", widths)
    csi = np.stack([csi for csi, _ in packets]).astype(np.complex64)
    return csi.reshape(len(csi), -1, _TONES), widths[0]


def _packet(path: Path, number: int, cell: np.ndarray) -> tuple[np.ndarray, int]:
    """CSI (transmitters, receivers, tones) and the bandwidth of one structure."""
    names = getattr(getattr(cell, "dtype", None), "names", None)
    if not names or cell.size != 1:
        raise DataFormatError(f"{path}: packet {number} is no structure.")
    record = cell.ravel()[0]
    csi = np.asarray(record[names[-1]])
    if csi.shape != (*_ANTENNAS, _TONES) or csi.dtype.kind not in "cfiu":
        size = " x ".join(map(str, csi.shape))
        raise DataFormatError(
            f"{path}: packet {number} has CSI {size} {csi.dtype} in field {names[-1]}; allowed: "
            f"3 x 3 x {_TONES} numbers."
        )
    rate = int(np.asarray(record["rate"]).ravel()[0]) if "rate" in names else 0
    return csi, 40 if rate & _WIDE else 20
