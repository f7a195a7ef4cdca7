"""Recorded channel state information: one record for every capture format, checked when built.

Sources: the contract of docs/data.md; the readers of the formats are the modules ``csi_*``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from isac_gym.core.errors import DataFormatError

__all__ = ["CSIRecording"]

MIN_PACKETS = 2  # of a window: a standard deviation over time needs two


@dataclass(frozen=True, eq=False, kw_only=True)
class CSIRecording:
    """Labelled windows of channel state information.

    Axes: N windows, T packets of a window, P links (``transmitter * receivers + receiver``), K
    tones of a link in ascending frequency.

    Attributes:
        csi: (N, T, P, K), complex64 channel coefficients, or float32 amplitudes where the phase
            was not kept. Linear, scale of the capture device.
        fs: Packets per second, Hz.
        fc: Carrier, Hz.
        freqs: Frequency of each tone, (K,) float64, Hz, increasing.
        null: (P, K) bool; True where a tone carries no channel (guard, carrier, pilot).
        loc: Where the target was: (N, 2) float32 in m, or a place (N,) int64; None: not labelled.
        sen: What it did: a class (N,) int64, or a rate (N,) float32 in Hz; None: not labelled.
        session: Which windows belong together, (N,) int64; windows of one session are never
            split. None: each window is a session of its own.
        valid: (N, T) bool; False where a packet is padding, and then zero. None: no padding.
        loc_names: Name of each place; empty: numbers only.
        sen_names: Name of each class; empty: numbers only.
        source: Where it comes from.
        num_dropped: Packets the reader left out because the device marked them as unusable.
    """

    csi: Tensor
    fs: float
    fc: float
    freqs: Tensor
    null: Tensor
    loc: Tensor | None = None
    sen: Tensor | None = None
    session: Tensor | None = None
    valid: Tensor | None = None
    loc_names: tuple[str, ...] = ()
    sen_names: tuple[str, ...] = ()
    source: str = "recording"
    num_dropped: int = 0

    def __post_init__(self) -> None:
        self._check_shapes()
        self._check_numbers()
        self._check_packets()
        self._check_labels()

    @property
    def is_complex(self) -> bool:
        """Whether the phase was kept."""
        return self.csi.is_complex()

    @property
    def num_windows(self) -> int:
        """N."""
        return self.csi.shape[0]

    @property
    def num_packets(self) -> int:
        """T, padding included."""
        return self.csi.shape[1]

    @property
    def num_links(self) -> int:
        """P."""
        return self.csi.shape[2]

    @property
    def num_tones(self) -> int:
        """K."""
        return self.csi.shape[3]

    @property
    def received(self) -> Tensor:
        """(N, T) bool: True where a packet is none of the padding."""
        return (
            torch.ones(self.csi.shape[:2], dtype=torch.bool) if self.valid is None else self.valid
        )

    @property
    def sessions(self) -> Tensor:
        """Session of each window, (N,) int64."""
        return torch.arange(self.num_windows) if self.session is None else self.session

    def select(self, rows: Tensor) -> Self:
        """The windows ``rows``: indices (n,) int64, or a mask (N,) bool."""
        per_window = ("csi", "loc", "sen", "session", "valid")
        found = {name: getattr(self, name) for name in per_window}
        return replace(self, **{k: v if v is None else v[rows] for k, v in found.items()})

    @classmethod
    def from_windows(
        cls,
        windows: Sequence[Tensor],
        *,
        names: Sequence[str] = (),
        fs: float,
        fc: float,
        freqs: Tensor,
        null: Tensor | None = None,
        loc: Tensor | None = None,
        sen: Tensor | None = None,
        session: Tensor | None = None,
        loc_names: tuple[str, ...] = (),
        sen_names: tuple[str, ...] = (),
        source: str = "recording",
        num_dropped: int = 0,
    ) -> Self:
        """Put windows of unequal length together; the shorter ones are padded in front.

        Args:
            windows: N tensors (T_n, P, K) of one kind, equal P and K. Leading packets that are
                all zero count as padding.
            names: What each window is called in messages; default: its number.
            fs: See the class, like all that follows.
            fc: See the class.
            freqs: See the class.
            null: See the class; None: no such tone.
            loc: See the class.
            sen: See the class.
            session: See the class.
            loc_names: See the class.
            sen_names: See the class.
            source: See the class.
            num_dropped: See the class.

        Raises:
            DataFormatError: There is no window, P or K varies, or see the class.
        """
        if not windows:
            raise DataFormatError(f"{source}: no window.")
        names = names or [f"window {n}" for n in range(len(windows))]
        for window, name in zip(windows, names, strict=True):
            _same_size(window, windows[0], f"{source}: {name}", names[0])
        kept = [window[_leading_zeros(window) :] for window in windows]
        longest = max(len(window) for window in kept)
        csi = windows[0].new_zeros(len(kept), longest, *windows[0].shape[1:])
        valid = torch.zeros(csi.shape[:2], dtype=torch.bool)
        for n, window in enumerate(kept):
            csi[n, longest - len(window) :] = window
            valid[n, longest - len(window) :] = True
        no_null = torch.zeros(csi.shape[2:], dtype=torch.bool)
        return cls(
            csi=csi,
            fs=fs,
            fc=fc,
            freqs=freqs,
            null=no_null if null is None else null,
            loc=loc,
            sen=sen,
            session=session,
            valid=None if bool(valid.all()) else valid,
            loc_names=loc_names,
            sen_names=sen_names,
            source=source,
            num_dropped=num_dropped,
        )

    # --- checks ---------------------------------------------------------------------------------

    def _check_shapes(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (Tensor, Tensor | None) and not (
                isinstance(value, Tensor) or (value is None and field.default is None)
            ):
                self._refuse(field.name, type(value).__name__, "a tensor")
        if self.csi.ndim != 4 or 0 in self.csi.shape:
            self._refuse("csi", f"shape {_size(self.csi)}", "N x T x P x K, none of them 0")
        if self.csi.dtype not in (torch.complex64, torch.float32):
            self._refuse("csi", str(self.csi.dtype), "complex64, or float32 for amplitudes")
        windows, packets, links, tones = self.csi.shape
        if packets < MIN_PACKETS:
            self._refuse("csi", f"T = {packets} packets", f"at least {MIN_PACKETS}")
        expected = (
            ("freqs", (tones,), torch.float64),
            ("null", (links, tones), torch.bool),
            ("valid", (windows, packets), torch.bool),
            ("session", (windows,), torch.int64),
        )
        for name, shape, dtype in expected:
            value = getattr(self, name)
            if value is not None and (value.shape != shape or value.dtype != dtype):
                allowed = f"shape {' x '.join(map(str, shape))}, {dtype}"
                self._refuse(name, f"shape {_size(value)}, {value.dtype}", allowed)

    def _check_numbers(self) -> None:
        for name in ("fs", "fc"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                self._refuse(name, str(value), "a positive number of Hz")
        if not bool(((self.freqs > 0) & self.freqs.isfinite()).all()):
            self._refuse("freqs", "a tone below 0 Hz or not finite", "positive frequencies")
        if not bool((self.freqs.diff() > 0).all()):
            self._refuse("freqs", "an order that is not increasing", "increasing frequencies")
        dead = self.null.all(-1)
        if bool(dead.any()):
            self._refuse("null", f"every tone of link {_first(dead)}", "at least one tone a link")

    def _check_packets(self) -> None:
        bad = ~self.csi.isfinite()
        if bool(bad.any()):
            count, where = int(bad.sum()), _place(bad, "window", "packet", "link", "tone")
            self._refuse("csi", f"{count} values that are not finite, first at {where}", "finite")
        if not self.is_complex and bool((self.csi < 0).any()):
            self._refuse("csi", "negative amplitudes", "amplitudes of at least 0")
        silent = ((self.csi == 0) | self.null).all(-1).all(-1)  # (N, T)
        received = self.received
        if bool((silent & received).any()):
            count, where = (
                int((silent & received).sum()),
                _place(silent & received, "window", "packet"),
            )
            self._refuse("csi", f"{count} packets that are all zero, first at {where}", "none")
        padding = (self.csi != 0).any(-1).any(-1) & ~received
        if bool(padding.any()):
            where = _place(padding, "window", "packet")
            self._refuse(
                "valid", f"False for a packet that is not zero, at {where}", "padding of 0"
            )
        few = received.sum(-1) < MIN_PACKETS
        if bool(few.any()):
            found = f"{int(received.sum(-1)[_first(few)])} packets in window {_first(few)}"
            self._refuse("valid", found, f"at least {MIN_PACKETS}")

    def _check_labels(self) -> None:
        for name, pairs in (("loc", 2), ("sen", 0)):
            label = getattr(self, name)
            if label is None:
                continue
            if len(label) != self.num_windows:
                found = f"{len(label)} labels for {self.num_windows} windows"
                self._refuse(name, found, "one each")
            shape = (self.num_windows, pairs) if pairs else (self.num_windows,)
            is_class = label.dtype == torch.int64 and label.ndim == 1
            if not is_class and (label.dtype != torch.float32 or label.shape != shape):
                allowed = f"(N,) int64 or {'(N, 2)' if pairs else '(N,)'} float32"
                self._refuse(name, f"shape {_size(label)}, {label.dtype}", allowed)
            if not is_class and not bool(label.isfinite().all()):
                self._refuse(name, "a value that is not finite", "finite")
            names = getattr(self, f"{name}_names")
            if is_class and not 0 <= int(label.min()) <= int(label.max()) < (
                len(names) or math.inf
            ):
                found = f"labels {int(label.min())} to {int(label.max())}"
                self._refuse(name, found, f"0 to {len(names) - 1}" if names else "at least 0")

    def _refuse(self, field: str, found: str, allowed: str) -> None:
        raise DataFormatError(f"{self.source}: {field}: {found}; allowed: {allowed}.")


def _same_size(window: Tensor, first: Tensor, name: str, first_name: str) -> None:
    if window.ndim != 3:
        raise DataFormatError(f"{name}: shape {_size(window)}; allowed: T x P x K.")
    for axis, letter in ((1, "P"), (2, "K")):
        if window.shape[axis] != first.shape[axis]:
            raise DataFormatError(
                f"{name}: {letter} = {window.shape[axis]}, {first_name} has {letter} = "
                f"{first.shape[axis]}; allowed: the same in all windows."
            )
    if window.dtype != first.dtype:
        raise DataFormatError(f"{name}: {window.dtype}, {first_name} is {first.dtype}.")


def _leading_zeros(window: Tensor) -> int:
    """How many packets at the start of (T, P, K) are all zero; 0 if all are."""
    is_zero = (window == 0).flatten(1).all(-1)
    return 0 if bool(is_zero.all()) else int(is_zero.long().cumprod(0).sum())


def _size(value: Tensor) -> str:
    return " x ".join(map(str, value.shape)) or "of a number"


def _first(mask: Tensor) -> int:
    return int(mask.long().argmax())


def _place(mask: Tensor, *axes: str) -> str:
    index = mask.nonzero()[0].tolist()
    return ", ".join(f"{axis} {i}" for axis, i in zip(axes, index, strict=True))
