import numpy as np
import torch

from isac_gym.core.linalg import inverse_trace, solve_or_nan
from isac_gym.core.random import Streams


def _matrices(batch, size, *, seed=3):
    return Streams.from_seed(seed, batch).normal("matrix", size, size)


def test_solve_or_nan__matches_numpy():
    matrix, right = _matrices(5, 4), _matrices(5, 4, seed=9)[:, :, :2]
    expected = np.linalg.solve(matrix.numpy(), right.numpy())
    np.testing.assert_allclose(solve_or_nan(matrix, right).numpy(), expected, rtol=1e-9)


def test_solve_or_nan__complex():
    matrix = Streams.from_seed(3, 4).complex_normal("matrix", 3, 3)
    right = torch.ones(4, 3, 1, dtype=matrix.dtype)
    torch.testing.assert_close(matrix @ solve_or_nan(matrix, right), right, rtol=0, atol=1e-12)


def test_solve_or_nan__singular_lane_is_nan_and_alone():
    matrix = _matrices(4, 3)
    matrix[2] = 0
    right = torch.ones(4, 3, 1, dtype=matrix.dtype)
    solution = solve_or_nan(matrix, right)
    assert solution[2].isnan().all()
    others = torch.tensor([0, 1, 3])
    torch.testing.assert_close((matrix @ solution)[others], right[others], rtol=0, atol=1e-11)


def test_inverse_trace__matches_numpy():
    half = _matrices(6, 4)
    matrix = half @ half.mT + torch.eye(4, dtype=half.dtype)
    expected = np.trace(np.linalg.inv(matrix.numpy()), axis1=-2, axis2=-1)
    np.testing.assert_allclose(inverse_trace(matrix).numpy(), expected, rtol=1e-11)


def test_inverse_trace__complex_hermitian():
    half = Streams.from_seed(1, 5).complex_normal("half", 3, 3)
    matrix = half @ half.mH + torch.eye(3, dtype=half.dtype)
    expected = np.trace(np.linalg.inv(matrix.numpy()), axis1=-2, axis2=-1).real
    trace = inverse_trace(matrix)
    assert trace.dtype == torch.float64
    np.testing.assert_allclose(trace.numpy(), expected, rtol=1e-11)


def test_inverse_trace__singular_lane_is_inf_and_alone():
    matrix = torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
    matrix[1, 2, 2] = 0
    assert inverse_trace(matrix).tolist() == [3.0, torch.inf, 3.0]


def test_linalg__runs_on_meta():
    matrix = torch.empty(2, 3, 3, dtype=torch.float64, device="meta")
    assert inverse_trace(matrix).shape == (2,)
    assert solve_or_nan(matrix, matrix).shape == (2, 3, 3)
