"""The error tree: every exception a caller can provoke is an ``IsacError``."""

__all__ = [
    "DataFormatError",
    "DataSourceError",
    "InfeasibleError",
    "IsacError",
    "ScenarioError",
    "ShapeError",
    "SolverError",
    "SubmissionError",
]


class IsacError(Exception):
    """Base of all errors raised on purpose by this project."""


class ScenarioError(IsacError, ValueError):
    """A scenario field, or another setting of an experiment, has a value outside its range."""


class ShapeError(IsacError, ValueError):
    """A tensor has the wrong shape, kind, device or holds a non-finite value."""


class InfeasibleError(IsacError, ValueError):
    """A caller demanded feasibility (``throw=True``) and the instance or decision has none."""


class SolverError(IsacError, RuntimeError):
    """A caller demanded success (``throw=True``) and a solver did not converge."""


class SubmissionError(IsacError, ValueError):
    """A leaderboard submission is rejected; the message names the field and the reason."""


class DataFormatError(IsacError, ValueError):
    """A data file is missing, damaged or not what its name promises; the message names the file."""


class DataSourceError(IsacError, RuntimeError):
    """No source of a data set could be reached; the message gives the reason of each."""
