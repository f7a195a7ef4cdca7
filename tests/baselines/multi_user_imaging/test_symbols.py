"""Symbols of residuals: singular vectors, their phase, sums over users, decisions."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from baselines.multi_user_imaging.sharing import consensus_weights
from baselines.multi_user_imaging.symbols import (
    mrc_symbols,
    residual_and_gain,
    sliced,
    svd_symbols,
)
from isac_gym.core.random import Streams
from isac_gym.physics.graphs import proximity_graph
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

B, K, L = 4, 6, 40


@pytest.fixture
def drawn() -> tuple[Tensor, Tensor, Tensor]:
    """Symbols (B, L), gains (B, K) and noisy residuals (B, L, K)."""
    streams = Streams.from_seed(0, B)
    quadrant = streams.integers("symbol", L, high=4).to(torch.float64)
    angle = (quadrant + 0.5) * (math.pi / 2)
    symbol = torch.complex(angle.cos(), angle.sin())
    gain = streams.complex_normal("gain", K)
    noise = 0.1 * streams.complex_normal("noise", L, K)
    return symbol, gain, symbol[..., None] * gain[:, None] + noise


def test_svd_symbols_are_the_first_singular_vector_up_to_its_phase(
    drawn: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, gain, residual = drawn
    found = svd_symbols(residual, gain).numpy()
    for lane in range(B):
        left = np.linalg.svd(residual[lane].numpy())[0][:, 0] * math.sqrt(L)
        assert abs(np.vdot(left, found[lane])) / L == pytest.approx(1, abs=1e-12)
    np.testing.assert_allclose((abs(found) ** 2).mean(-1), 1)


def test_aligned_svd_symbols_are_the_symbols(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    symbol, gain, residual = drawn
    exact = symbol[..., None] * gain[:, None]
    torch.testing.assert_close(svd_symbols(exact, gain), symbol)
    assert float((svd_symbols(residual, gain) - symbol).abs().max()) < 0.3
    assert torch.equal(sliced(svd_symbols(residual, gain)), sliced(symbol))


def test_aligned_svd_symbols_turn_with_the_symbols(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    _, gain, residual = drawn
    turn = torch.polar(torch.tensor(1.0, dtype=torch.float64), torch.tensor(0.7).double())
    found = svd_symbols(residual * turn, gain)
    torch.testing.assert_close(found, svd_symbols(residual, gain) * turn)
    torch.testing.assert_close(
        svd_symbols(residual * turn, gain * turn), svd_symbols(residual, gain)
    )


def test_svd_symbols_of_nothing_are_finite(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    _, gain, residual = drawn
    for values in ((0 * residual, gain), (residual, 0 * gain), (0 * residual, 0 * gain)):
        assert svd_symbols(*values).isfinite().all()
        assert mrc_symbols(*values).isfinite().all()


def test_many_rounds_of_consensus_are_exact_sums(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    symbol, gain, residual = drawn
    exact = mrc_symbols(residual, gain)
    wanted = (
        torch.einsum("bk,blk->bl", gain.conj(), residual) / gain.abs().square().sum(-1)[:, None]
    )
    torch.testing.assert_close(exact, wanted[:, None].expand(-1, K, -1))
    graph = proximity_graph(Streams.from_seed(1, B).uniform("place", K, 3), K)
    many, few, none = (
        mrc_symbols(residual, gain, consensus_weights(graph, rounds, dtype=torch.float64))
        for rounds in (400, 2, 0)
    )
    torch.testing.assert_close(many, exact)
    torch.testing.assert_close(none, (residual / gain[:, None]).mT)
    error = [float((s - symbol[:, None]).abs().square().mean()) for s in (none, few, many)]
    assert error[0] > error[1] > error[2]


def test_residuals_of_the_truth_are_the_data(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    scenario = RecoveryScenario.preset("small")
    problem = ImagingRecovery(scenario=scenario.replace(snr_db=60.0))
    i = problem.sample(Streams.from_seed(0, 2))
    image = i.image[:, None].expand_as(i.user_channel)
    data = problem.data_illumination(i)
    residual, gain = residual_and_gain(image, i.user_channel, problem.probing(i), data, i.received)
    wanted = i.symbol[..., None] * gain[:, None]
    assert float((residual - wanted).abs().max()) < 0.05
    assert torch.equal(sliced(svd_symbols(residual, gain)), sliced(i.symbol))


def test_single_precision_stays_single(drawn: tuple[Tensor, Tensor, Tensor]) -> None:
    symbol, gain, residual = drawn
    found = svd_symbols(residual.to(torch.complex64), gain.to(torch.complex64))
    assert found.dtype == sliced(found).dtype == torch.complex64
    torch.testing.assert_close(sliced(found), symbol.to(torch.complex64), rtol=0, atol=1e-6)
