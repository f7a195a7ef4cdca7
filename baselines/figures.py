"""What all paper figures share: estimates with intervals, tables as CSV, verdicts, plotting style.

Every measured number is an :class:`Estimate`: its value over all draws and its value in each of
several disjoint batches of draws, whose spread gives the 95 % interval. A paper's claim becomes a
:class:`Verdict`: what was measured, what an independent calculation expected, whether they agree.
"""

import csv
import itertools
import math
import os
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.special import stdtrit

__all__ = [
    "COLOURS",
    "VERDICTS",
    "Check",
    "Estimate",
    "Grade",
    "Table",
    "Verdict",
    "combine",
    "draw_line",
    "estimate",
    "figure_style",
    "grade",
    "judge",
    "judge_table",
    "label_panels",
    "save_figure",
    "write_csv",
    "write_verdicts",
]

Array = NDArray[np.float64]
Grade = Literal["reproduced", "partly", "not reproduced", "not verifiable"]
VERDICTS: tuple[Grade, ...] = ("reproduced", "partly", "not reproduced", "not verifiable")

# Okabe and Ito's palette: distinguishable with every common colour-vision deficiency.
COLOURS = {
    "black": "#000000",
    "orange": "#e69f00",
    "sky": "#56b4e9",
    "green": "#009e73",
    "blue": "#0072b2",
    "red": "#d55e00",
    "purple": "#cc79a7",
    "grey": "#7f7f7f",
}
_STYLE: dict[Any, Any] = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.fontsize": 7.5,
    "legend.frameon": False,
    "legend.handlelength": 2.6,
    "lines.linewidth": 1.5,
    "lines.markersize": 4,
    "figure.dpi": 100,
    "savefig.dpi": 200,
    "figure.constrained_layout.use": True,
}
_CAPTION_WIDTH = 17.9  # characters per inch at the caption's size
_CONFIDENCE = 0.95
_FEWEST_BATCHES = 3


@dataclass(frozen=True)
class Estimate:
    """A measured number and its value in each batch of draws.

    Attributes:
        value: Value over all draws.
        batches: Values in the disjoint batches; NaN where a batch had no admissible draw.
    """

    value: float
    batches: tuple[float, ...]

    @property
    def half_width(self) -> float:
        """Half of the 95 % Student interval of the mean over batches; NaN below 3 batches."""
        finite = [b for b in self.batches if math.isfinite(b)]
        if len(finite) < _FEWEST_BATCHES:
            return math.nan
        quantile = float(stdtrit(len(finite) - 1, 0.5 + _CONFIDENCE / 2))
        return quantile * float(np.std(finite, ddof=1)) / math.sqrt(len(finite))

    def is_above(self, bound: float) -> bool:
        """True if the whole 95 % interval lies above ``bound``."""
        return self.value - self.half_width > bound

    def is_below(self, bound: float) -> bool:
        """True if the whole 95 % interval lies below ``bound``."""
        return self.value + self.half_width < bound

    def __sub__(self, other: "Estimate") -> "Estimate":
        """Paired difference: errors of common draws cancel."""
        return combine(lambda a, b: a - b, self, other)

    def __str__(self) -> str:
        return f"{self.value:.4g} ± {self.half_width:.2g}"


def estimate(
    values: Array,
    *,
    num_batches: int,
    keep: NDArray[np.bool_] | None = None,
    statistic: Callable[[Array], float] = np.mean,
) -> Estimate:
    """Statistic of per-draw values over all draws and over consecutive batches.

    Args:
        values: One value per draw, (D,) or (D, I).
        num_batches: Number of batches of (nearly) equal size.
        keep: Draws that count, (D,); all if None.
        statistic: Maps the kept values to a number; never called on an empty array.
    """
    keep = np.ones(len(values), dtype=bool) if keep is None else keep

    def of(rows: slice) -> float:
        kept = values[rows][keep[rows]]
        return float(statistic(kept)) if len(kept) else math.nan

    edges = np.linspace(0, len(values), num_batches + 1).astype(int)
    parts = [slice(a, b) for a, b in itertools.pairwise(edges)]
    return Estimate(of(slice(None)), tuple(of(part) for part in parts))


def combine(function: Callable[..., float], *estimates: Estimate) -> Estimate:
    """Function of estimates, batch by batch, so that common draws cancel in differences."""
    batches = zip(*(e.batches for e in estimates), strict=True)
    return Estimate(
        function(*(e.value for e in estimates)), tuple(function(*each) for each in batches)
    )


@dataclass(frozen=True)
class Table:
    """Estimates by (place on the axis, scheme, quantity): the data of one figure.

    Attributes:
        axis: Name of the axis with its unit, e.g. ``self_interference_db``.
        cells: The estimates; quantities carry their unit as suffix, e.g. ``mean_sigma_m``.
    """

    axis: str
    cells: dict[tuple[float | str, str, str], Estimate] = field(default_factory=dict)

    def at(self, place: float | str, scheme: str, quantity: str) -> Estimate:
        """One estimate; KeyError if it was not measured."""
        return self.cells[place, scheme, quantity]

    def line(self, scheme: str, quantity: str) -> tuple[Array, list[Estimate]]:
        """Numeric places and estimates of one curve, in increasing order of place."""
        pairs = [
            (float(p), e) for (p, s, q), e in self.cells.items() if (s, q) == (scheme, quantity)
        ]
        pairs.sort(key=lambda pair: pair[0])
        return np.array([p for p, _ in pairs]), [e for _, e in pairs]

    def write(self, path: Path) -> None:
        """CSV with the columns axis, scheme, quantity, value and its 95 % half width."""
        rows = [(*key, e.value, e.half_width) for key, e in self.cells.items()]
        write_csv(path, [self.axis, "scheme", "quantity", "value", "half_width_95"], rows)


@dataclass(frozen=True)
class Check:
    """One number against what an independent calculation expected.

    Attributes:
        name: What the number is.
        measured: Our estimate.
        expected: Expected value.
        tolerance: Allowed deviation beyond the interval of ``measured``: rounding and sampling
            error of the expected value.
        unit: Unit symbol.
    """

    name: str
    measured: Estimate
    expected: float
    tolerance: float
    unit: str = ""

    @property
    def deviation(self) -> float:
        """Distance from ``expected`` over tolerance plus half width; ``inf`` if unknown."""
        distance = abs(self.measured.value - self.expected)
        allowed = self.tolerance + self.measured.half_width
        if math.isnan(distance) or math.isnan(allowed):
            return math.inf
        if allowed == 0:
            return math.inf if distance else 0.0
        return distance / allowed

    @property
    def holds(self) -> bool:
        """True if expected ± tolerance meets the 95 % interval (False if that is unknown)."""
        return self.deviation <= 1


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        id: Short name, ``figure/claim``.
        claim: The claim in our words.
        source: Where it is made: section of the paper, or ``ours``.
        measured: Our numbers with 95 % intervals.
        verdict: One of ``VERDICTS``.
        expected: The same numbers from an independent calculation, and the verdict expected.
        holds: True if our numbers and our verdict agree with the expected ones.
    """

    id: str
    claim: str
    source: str
    measured: str
    verdict: Grade
    expected: str
    holds: bool


def grade(parts: Sequence[bool]) -> Grade:
    """``reproduced`` if every part of a claim is true, ``not reproduced`` if none is."""
    if all(parts):
        return "reproduced"
    return "partly" if any(parts) else "not reproduced"


def judge(
    id: str,
    claim: str,
    *,
    source: str,
    verdict: Grade,
    expected_verdict: Grade,
    checks: Sequence[Check] = (),
    note: str = "",
) -> Verdict:
    """Verdict of a claim from its checks; a deviating check is marked in ``measured``."""
    shown = [f"{c.name} {c.measured} {c.unit}".strip() for c in checks]
    marked = [s if c.holds else f"{s} (!)" for s, c in zip(shown, checks, strict=True)]
    wanted = [f"{c.name} {c.expected:g} ± {c.tolerance:g} {c.unit}".strip() for c in checks]
    return Verdict(
        id=id,
        claim=claim,
        source=source,
        measured="; ".join([*marked, *([note] if note else [])]),
        verdict=verdict,
        expected="; ".join([*wanted, expected_verdict]),
        holds=verdict == expected_verdict and all(c.holds for c in checks),
    )


def judge_table(id: str, claim: str, *, source: str, checks: Sequence[Check]) -> Verdict:
    """Verdict of many numbers at once: how many agree, and the one that deviates most.

    Raises:
        ValueError: ``checks`` is empty.
    """
    good = sum(c.holds for c in checks)
    worst = max(checks, key=lambda c: c.deviation)
    note = f"{good} of {len(checks)} numbers agree; least agreement: {worst.name} {worst.measured}"
    return Verdict(
        id=id,
        claim=claim,
        source=source,
        measured=f"{note} {worst.unit}".strip(),
        verdict=grade([c.holds for c in checks]),
        expected=f"{worst.expected:g} ± {worst.tolerance:.2g} {worst.unit}; all numbers agree",
        holds=good == len(checks),
    )


@contextmanager
def _whole_file(path: Path) -> Iterator[Path]:
    """Path of a temporary neighbour that replaces ``path`` when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Comma-separated UTF-8 file, floats to 8 digits, replaced as a whole."""

    def cell(value: object) -> object:
        return f"{value:.8g}" if isinstance(value, float) else value

    with _whole_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows([cell(value) for value in row] for row in rows)


def write_verdicts(path: Path, verdicts: Sequence[Verdict]) -> None:
    """Verdict table as CSV."""
    header = ["id", "verdict", "holds", "claim", "source", "measured", "expected"]
    write_csv(path, header, [[getattr(v, name) for name in header] for v in verdicts])


@contextmanager
def figure_style() -> Iterator[None]:
    """Matplotlib settings of all figures, for the block only."""
    with rc_context(_STYLE):
        yield


def save_figure(figure: Figure, path: Path, *, caption: str) -> None:
    """PNG with the caption below the panels, replaced as a whole."""
    width = int(_CAPTION_WIDTH * figure.get_figwidth())
    text = re.sub(r"(?<=\d) (?=(dB|dBm|dBsm|m|%)\W)| (?==)|(?<==) ", "\N{NO-BREAK SPACE}", caption)
    text = re.sub(r"-(?=\d)", "\N{MINUS SIGN}", text)
    figure.text(0.01, -0.02, textwrap.fill(text, width), va="top", fontsize=7.5, color="#333333")
    with _whole_file(path) as partial:
        figure.savefig(partial, format="png", bbox_inches="tight", metadata={"Software": None})


def label_panels(axes: Sequence[Axes], titles: Sequence[str]) -> None:
    """Titles ``(a) ...``, ``(b) ...`` in reading order."""
    for letter, axis, title in zip("abcdefgh", axes, titles, strict=False):
        axis.set_title(f"({letter}) {title}")


def draw_line(axis: Axes, table: Table, scheme: str, quantity: str, **style: Any) -> None:
    """One curve with its 95 % interval shaded; ``style`` goes to ``Axes.plot``."""
    x, estimates = table.line(scheme, quantity)
    y = np.array([e.value for e in estimates])
    half = np.array([e.half_width for e in estimates])
    (line,) = axis.plot(x, y, **style)
    axis.fill_between(x, y - half, y + half, color=line.get_color(), alpha=0.2, linewidth=0)
