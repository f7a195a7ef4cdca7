import numpy as np
import pytest
import torch

from isac_gym.core.linalg import hermitian_eigh, inverse_trace, solve_or_nan
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


def _hermitian(batch, size, kind=torch.complex128, *, seed=3):
    half = Streams.from_seed(seed, batch).complex_normal("half", size, size)
    half = half if kind.is_complex else half.real
    return (half + half.mH).to(kind)


KINDS = (torch.complex128, torch.complex64, torch.float64, torch.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 2, 5, 32])
def test_hermitian_eigh__is_ascending_orthonormal_and_reconstructs(kind, size):
    matrix = _hermitian(4, size, kind)
    value, vector = hermitian_eigh(matrix)
    assert value.dtype == matrix.real.dtype
    assert vector.dtype == kind
    assert (value.diff(dim=-1) >= 0).all()
    bound = 2e-5 if kind in (torch.complex64, torch.float32) else 1e-12
    again = (vector * value[:, None].to(kind)) @ vector.mH
    torch.testing.assert_close(again, matrix, rtol=0, atol=bound * size)
    identity = torch.eye(size, dtype=kind).expand_as(matrix)
    torch.testing.assert_close(vector.mH @ vector, identity, rtol=0, atol=bound)


def test_hermitian_eigh__matches_numpy():
    matrix = _hermitian(6, 5)
    expected = np.linalg.eigvalsh(matrix.numpy())
    np.testing.assert_allclose(hermitian_eigh(matrix)[0].numpy(), expected, atol=1e-13)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_hermitian_eigh__non_finite_lane_is_nan_and_alone(kind, bad):
    matrix = _hermitian(3, 4, kind)
    clean = hermitian_eigh(matrix)
    matrix[1, 2, 3] = bad
    value, vector = hermitian_eigh(matrix)
    assert value[1].isnan().all()
    for found, wanted in zip((value, vector), clean, strict=True):
        assert torch.equal(found[::2], wanted[::2])


def test_hermitian_eigh__zero_and_repeated_eigenvalues():
    value, vector = hermitian_eigh(torch.zeros(2, 3, 3, dtype=torch.complex128))
    assert (value == 0).all()
    torch.testing.assert_close(vector.mH @ vector, torch.eye(3).to(vector).expand(2, 3, 3))
    one = torch.full((1, 4, 4), 0.5, dtype=torch.complex128)
    torch.testing.assert_close(
        hermitian_eigh(one)[0], torch.tensor([[0.0, 0, 0, 2]]).double(), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("shape", [(0, 3, 3), (2, 0, 3, 3)])
def test_hermitian_eigh__empty_batch(shape):
    value, vector = hermitian_eigh(torch.zeros(shape, dtype=torch.complex64))
    assert value.shape == shape[:-1]
    assert value.dtype == torch.float32
    assert vector.shape == shape


def test_hermitian_eigh__batches_have_any_number_of_axes():
    matrix = _hermitian(6, 3)
    value, vector = hermitian_eigh(matrix.reshape(2, 3, 3, 3))
    flat = hermitian_eigh(matrix)
    assert torch.equal(value.reshape(6, 3), flat[0])
    assert torch.equal(vector.reshape(6, 3, 3), flat[1])


@pytest.mark.gpu
@pytest.mark.parametrize("kind", KINDS)
def test_hermitian_eigh__large_batches_on_a_gpu(kind):
    matrix = _hermitian(20_000, 5, kind).to("cuda")
    value, vector = hermitian_eigh(matrix)
    again = (vector * value[:, None].to(kind)) @ vector.mH
    bound = 1e-4 if kind in (torch.complex64, torch.float32) else 1e-11
    torch.testing.assert_close(again, matrix, rtol=0, atol=bound)


def test_linalg__runs_on_meta():
    matrix = torch.empty(2, 3, 3, dtype=torch.float64, device="meta")
    assert [t.shape for t in hermitian_eigh(matrix)] == [(2, 3), (2, 3, 3)]
    assert inverse_trace(matrix).shape == (2,)
    assert solve_or_nan(matrix, matrix).shape == (2, 3, 3)
