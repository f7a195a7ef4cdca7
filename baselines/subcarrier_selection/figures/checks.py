"""Words and small helpers that the claims of the subcarrier selection figures share."""

from collections.abc import Iterable

from baselines.figures import Check, Estimate, Table
from baselines.subcarrier_selection.figures.draws import SIZES

__all__ = ["OURS", "PAPER", "difference", "names", "over_sizes", "prototype", "relative", "words"]

PAPER = "SPG-MIBO paper, section VI"
OURS = "ours"


def difference(table: Table, size: int, first: str, second: str, quantity: str) -> Estimate:
    """First less second scheme, room by room."""
    return table.at(size, first, quantity) - table.at(size, second, quantity)


def over_sizes(table: Table, first: str, second: str, quantity: str) -> dict[int, Estimate]:
    """Paired differences at every number of tones."""
    return {size: difference(table, size, first, second, quantity) for size in SIZES}


def prototype(name: str, measured: Estimate, expected: float, half_width: float) -> Check:
    """One number against the prototype's, measured in other rooms, and its 95 % half width."""
    return Check(name, measured, expected, half_width)


def words(differences: dict[int, Estimate]) -> str:
    """Differences at every number of tones for a note."""
    return "; ".join(f"{size} tones {each}" for size, each in differences.items())


def relative(part: Estimate, whole: Estimate) -> float:
    """Share in percent."""
    return 100 * part.value / whole.value


def names(pairs: Iterable[tuple[str, Estimate]]) -> str:
    """Named estimates for a note."""
    return "; ".join(f"{name} {each}" for name, each in pairs)
