"""What all conformance checks share: the error, comparison of tensors, guard of global state."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from isac_gym.core.errors import IsacError
from isac_gym.core.records import TensorRecord

__all__ = [
    "ConformanceError",
    "demand",
    "demand_raises",
    "demand_same",
    "demand_same_records",
    "flat_rows",
    "global_state_guard",
    "row_error",
]

ROW_TOLERANCE = 1e-12  # same row alone and in a batch: LAPACK may block batches differently


class ConformanceError(IsacError):
    """A check of the conformance suite failed.

    Attributes:
        check: Name of the check, e.g. ``problem.projection``.
        expected: What the contract demands.
        seen: What was found.
    """

    def __init__(self, check: str, expected: str, seen: object) -> None:
        super().__init__(f"{check}: expected {expected}; saw {seen}.")
        self.check = check
        self.expected = expected
        self.seen = seen


def demand(condition: object, check: str, expected: str, seen: object) -> None:
    """Raise unless ``condition`` is true.

    Raises:
        ConformanceError: Names check, expectation and finding.
    """
    if not bool(condition):
        raise ConformanceError(check, expected, seen)


def demand_raises(
    action: Callable[[], object], error: type[Exception], words: str, *, check: str, case: str
) -> None:
    """Demand that ``action`` raises exactly this error class and that its message has ``words``.

    Raises:
        ConformanceError: Nothing, another class or another message was raised.
    """
    expected = f"{error.__name__} naming {words!r} for {case}"
    try:
        action()
    except Exception as caught:
        is_right = type(caught) is error and words in str(caught)
        if not is_right:
            seen = f"{type(caught).__name__}: {caught}"
            raise ConformanceError(check, expected, seen) from caught
    else:
        raise ConformanceError(check, expected, "no error")


def row_error(left: Tensor, right: Tensor) -> float:
    """Largest difference of two tensors over the magnitude of its row; equal NaN count as 0."""
    if left.shape != right.shape or left.dtype != right.dtype:
        return float("inf")
    if left.numel() == 0 or not (left.is_floating_point() or left.is_complex()):
        return 0.0 if torch.equal(left, right) else float("inf")
    is_same = (left == right) | (left.isnan() & right.isnan())
    gap = torch.where(is_same, 0, (left - right).abs())
    size = torch.where(left.isfinite(), left.abs(), 0)
    flat_gap, flat_size = gap.reshape(gap.shape[0], -1), size.reshape(gap.shape[0], -1)
    ratio = flat_gap.amax(1) / flat_size.amax(1).clamp_min(torch.finfo(flat_size.dtype).tiny)
    ratio = torch.where(flat_gap.amax(1) == 0, 0, ratio)
    return float(torch.nan_to_num(ratio, nan=torch.inf, posinf=torch.inf).amax())


def demand_same(
    left: Tensor, right: Tensor, tolerance: float, *, check: str, expected: str, name: str
) -> None:
    """Demand equal tensors: bit for bit where ``tolerance`` is 0, else relative to each row.

    Raises:
        ConformanceError: They differ.
    """
    error = row_error(left, right)
    if error > tolerance:
        shapes = "" if left.shape == right.shape else f", shapes {left.shape} and {right.shape}"
        raise ConformanceError(
            check, expected, f"{name} differing by {error:.1e} of its row{shapes}"
        )


def demand_same_records(
    left: TensorRecord,
    right: TensorRecord,
    tolerance: float,
    *,
    check: str,
    expected: str,
) -> None:
    """:func:`demand_same` for every tensor of two records of one type.

    Raises:
        ConformanceError: Names the first tensor that differs.
    """
    demand(type(left) is type(right), check, f"a {type(left).__name__}", type(right).__name__)
    theirs = dict(right.items())
    for name, mine in left.items():
        label = f"{type(left).__name__}.{name}"
        demand_same(mine, theirs[name], tolerance, check=check, expected=expected, name=label)


def flat_rows(record: TensorRecord) -> Tensor:
    """All numbers of a record as rows of a real matrix, (B, n) float64."""
    parts = []
    for _, t in record.items():
        real = torch.view_as_real(t) if t.is_complex() else t
        parts.append(real.reshape(len(real), -1).double())
    return torch.cat(parts, 1)


@contextmanager
def global_state_guard(check: str) -> Iterator[None]:
    """Demand that the body leaves every global generator, the default dtype and threads alone.

    Raises:
        ConformanceError: Names what was touched.
    """
    before = _global_state()
    yield
    after = _global_state()
    touched = [name for name, value in before.items() if after[name] != value]
    demand(not touched, check, "global state left alone", f"a change of {', '.join(touched)}")


def _global_state() -> dict[str, object]:
    state = {
        "Python's random generator": random.getstate(),
        "NumPy's global generator": repr(np.random.get_state(legacy=False)),  # noqa: NPY002
        "torch's default generator": torch.get_rng_state().numpy().tobytes(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's thread count": torch.get_num_threads(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "NumPy's error state": repr(np.geterr()),
    }
    if torch.cuda.is_available():
        state["CUDA's default generator"] = torch.cuda.get_rng_state().numpy().tobytes()
    return state
