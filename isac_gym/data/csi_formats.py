"""``load_recording``: one call for every format, a capture file or a folder of them.

A folder of capture files has a table ``labels.csv``, one line per file: ``file``; ``x_m`` and
``y_m``, or ``place``; ``activity``, or ``rate_hz``; ``session``. All columns but ``file`` are
optional; files of one session are never split between training and test.
"""

import csv
from collections.abc import Callable, Sequence
from pathlib import Path

from isac_gym.core.errors import DataFormatError
from isac_gym.data.csi import CSIRecording
from isac_gym.data.csi_atheros import is_atheros, read_atheros
from isac_gym.data.csi_esp32 import is_esp32, read_esp32
from isac_gym.data.csi_intel import is_intel, read_intel
from isac_gym.data.csi_nexmon import is_nexmon, read_nexmon
from isac_gym.data.csi_stream import PacketStream, read_content, record
from isac_gym.data.csi_wimans import is_wimans, load_wimans

__all__ = ["FORMATS", "LABELS", "detect_format", "load_recording"]

LABELS = "labels.csv"
_COLUMNS = ("file", "x_m", "y_m", "place", "activity", "rate_hz", "session")
_SNIFFERS: dict[str, Callable[[bytes], bool]] = {
    "nexmon": is_nexmon,
    "esp32": is_esp32,
    "intel5300": is_intel,
    "atheros": is_atheros,
}
FORMATS = ("wimans", *_SNIFFERS)


def load_recording(
    path: Path | str,
    *,
    format: str | None = None,
    num_packets: int | None = None,
    hop: int | None = None,
    every: int = 1,
    fc: float | None = None,
    chip: str | None = None,
    mac: str | None = None,
) -> CSIRecording:
    """Read a capture file, a folder of them with ``labels.csv``, or the WiMANS folder.

    Args:
        path: The file or folder.
        format: One of ``FORMATS``; None: what the content looks like.
        num_packets: Packets of a window; None: a file is a window. WiMANS has windows of its own.
        hop: Packets from one window to the next; None: no overlap.
        every: Keep one packet in so many.
        fc: Carrier, Hz; None: what the file says. Intel 5300 files do not.
        chip: Broadcom chip of a nexmon capture; None: what the file says.
        mac: Transmitter to keep (nexmon, ESP32); None: there must be one only.

    Raises:
        DataFormatError: Files are missing, damaged or of another format, labels do not match; the
            message names the file, what was found and what is allowed.
        ModuleNotFoundError: The format needs csiread, which is not installed.
    """
    path = Path(path)
    if format not in (None, *FORMATS):
        raise DataFormatError(f"{path}: format: {format}; allowed: {', '.join(FORMATS)}.")
    if format == "wimans" or (format is None and path.is_dir() and is_wimans(path)):
        if num_packets is not None or hop is not None:
            raise DataFormatError(f"{path}: num_packets, hop: WiMANS has windows of its own.")
        return load_wimans(path, every=every, fc=fc)

    def read(file: Path) -> PacketStream:
        kind = format or detect_format(file)
        return _read(kind, file, fc=fc, chip=chip, mac=mac).thinned(every)

    if path.is_file():
        return record([read(path)], num_packets=num_packets, hop=hop, source=str(path))
    rows = _table(path)
    places, activities = _names(rows, "place"), _names(rows, "activity")
    sessions = _names(rows, "session")
    return record(
        [read(path / row["file"]) for row in rows],
        num_packets=num_packets,
        hop=hop,
        loc=_positions(path, rows) or _numbers(rows, "place", places),
        sen=_values(path, rows, "rate_hz") or _numbers(rows, "activity", activities),
        session=_numbers(rows, "session", sessions),
        loc_names=places,
        sen_names=activities,
        source=str(path),
    )


def detect_format(path: Path | str) -> str:
    """Name of the format a capture file looks like.

    Raises:
        DataFormatError: The file is missing or empty, or looks like none or several.
    """
    path, content = read_content(path)
    found = [name for name, looks_so in _SNIFFERS.items() if looks_so(content)]
    if len(found) != 1:
        looks = " and ".join(found) or f"none of {', '.join(_SNIFFERS)}"
        raise DataFormatError(
            f"{path}: looks like {looks} (starts with {content[:8].hex(' ')}); give format."
        )
    return found[0]


def _read(
    kind: str, file: Path, *, fc: float | None, chip: str | None, mac: str | None
) -> PacketStream:
    if kind == "intel5300":
        return read_intel(file, fc=fc)
    if kind == "atheros":
        return read_atheros(file, fc=fc)
    if kind == "nexmon":
        return read_nexmon(file, chip=chip, mac=mac, fc=fc)
    return read_esp32(file, mac=mac, fc=fc)


# --- labels.csv ---------------------------------------------------------------------------------


def _table(folder: Path) -> list[dict[str, str]]:
    """Its lines, checked against the files that are there."""
    if not folder.is_dir():
        raise DataFormatError(f"{folder}: no such file or folder.")
    path, content = read_content(folder / LABELS)
    try:
        table = csv.DictReader(content.decode("utf-8-sig").splitlines())
        rows = list(table)
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataFormatError(f"{path}: not a CSV file: {error}.") from error
    columns = list(table.fieldnames or ())
    unknown = [name for name in columns if name not in _COLUMNS]
    if "file" not in columns or unknown or len(set(columns)) < len(columns):
        raise DataFormatError(
            f"{path}: columns {', '.join(columns)}; allowed: file and some of "
            f"{', '.join(_COLUMNS[1:])}, once each."
        )
    for first, second in (("place", "x_m"), ("activity", "rate_hz")):
        if first in columns and second in columns:
            raise DataFormatError(f"{path}: columns {first} and {second}; allowed: one of them.")
    if ("x_m" in columns) != ("y_m" in columns):
        raise DataFormatError(f"{path}: one of x_m and y_m; allowed: both or neither.")
    for number, row in enumerate(rows, 2):
        if None in row or not all(row.values()):
            raise DataFormatError(f"{path}: line {number} lacks a value or has too many.")
    _match_files(path, [row["file"] for row in rows])
    return rows


def _match_files(path: Path, files: list[str]) -> None:
    there = {entry.name for entry in path.parent.iterdir() if entry.is_file()} - {LABELS}
    missing, extra = [f for f in files if f not in there], sorted(there - set(files))
    if missing or extra or len(set(files)) < len(files) or not files:
        raise DataFormatError(
            f"{path}: {len(files)} lines for {len(there)} files; without a file: "
            f"{', '.join(missing[:3]) or 'none'}; without a line: "
            f"{', '.join(extra[:3]) or 'none'}; allowed: one line for each file."
        )


def _names(rows: list[dict[str, str]], column: str) -> tuple[str, ...]:
    return tuple(sorted({row[column] for row in rows})) if column in rows[0] else ()


def _numbers(rows: list[dict[str, str]], column: str, names: Sequence[str]) -> list[int] | None:
    return [names.index(row[column]) for row in rows] if names else None


def _values(folder: Path, rows: list[dict[str, str]], column: str) -> list[float] | None:
    if column not in rows[0]:
        return None
    try:
        return [float(row[column]) for row in rows]
    except ValueError as error:
        raise DataFormatError(f"{folder / LABELS}: column {column}: {error}.") from error


def _positions(folder: Path, rows: list[dict[str, str]]) -> list[tuple[float, float]] | None:
    x, y = (_values(folder, rows, column) for column in ("x_m", "y_m"))
    return None if x is None or y is None else list(zip(x, y, strict=True))
