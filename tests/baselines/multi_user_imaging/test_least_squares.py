"""Least squares at a leader: unbiased, at the bound, consistent in the first step."""

import pytest
import torch

from baselines.multi_user_imaging.central import statistics
from baselines.multi_user_imaging.least_squares import (
    LeastSquares,
    LeastSquaresGenie,
    OracleLeastSquares,
    OracleLeastSquaresStep1,
)
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.physics.imaging import illuminate, receive
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery, gathering_scalars
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario
from tests.baselines.multi_user_imaging.recovery_cases import (
    IMAGE,
    SMALL,
    blinded,
    decibels,
    drawn,
    error,
    with_settings,
)


def repeated(problem, runs):
    """One frame under many draws of the noise."""
    i = drawn(problem, 1)[torch.zeros(runs, dtype=torch.int64)]
    sent = i.probe + i.symbol[..., None] * i.beam[:, None]
    clean = receive(i.user_channel, i.image, illuminate(i.bs_channel, sent))
    noise = Streams.from_seed(8, runs).complex_normal("noise", *clean.shape[1:])
    return i.replace(received=clean + problem.scenario.noise_w**0.5 * noise)


def test_oracle__attains_the_genie_bound_on_average():
    """Spec 8.5: [.93, 1.07] at 400 runs."""
    instance = repeated(SMALL, 400)
    found = SMALL.evaluate(instance, OracleLeastSquares().solve(SMALL, instance).decision)
    assert 0.93 < (found.msd / found.genie_bound).mean() < 1.07


def test_real_aware_least_squares__beat_the_complex_bound_by_half():
    """Spec 2.12 and 8.6: a real image halves the error of who knows that it is real."""
    instance = repeated(with_settings(SMALL, phase="zero"), 400)
    known = statistics(SMALL, instance, symbol=instance.symbol)
    support = instance.image[0] != 0
    phi = known.information[:, support][:, :, support].real
    found = torch.linalg.solve(phi, known.matched[:, support].real)
    off = (found - instance.image[:, support].real).square().sum(-1)
    bound = SMALL.bounds(instance)[0]
    assert 0.45 < (off / bound).mean() < 0.55


def test_first_step__is_consistent():
    """Spec 2.2: ten times the samples, a tenth of the error, in spite of unknown data."""
    errors = []
    for length in (200, 2000):
        problem = with_settings(SMALL, num_samples=length, num_users=8)
        errors.append(error(problem, drawn(problem, 48), LeastSquares()).mean())
    assert 8.5 < decibels(errors[0] / errors[1]) < 11.5


def test_knowledge__orders_the_errors():
    instance = drawn(IMAGE, 8)
    order = [OracleLeastSquares, LeastSquaresGenie, OracleLeastSquaresStep1, LeastSquares]
    best, genie, step, plain = (error(IMAGE, instance, s()).mean() for s in order)
    assert best < step < plain
    assert best < genie < plain


def test_cost__is_gathering_and_all_users_agree():
    instance = drawn(SMALL, 3)
    found = LeastSquares().solve(SMALL, instance).decision
    assert torch.equal(found.scalars.double(), gathering_scalars(instance.adjacency, 64, 8))
    assert (found.estimate == found.estimate[:, :1]).all()


def test_truth__is_not_read_without_saying_so():
    instance = drawn(SMALL, 3)
    one, two = (LeastSquares().solve(SMALL, i).decision for i in (instance, blinded(instance)))
    assert torch.equal(one.estimate, two.estimate)


def test_single_precision__is_promoted_where_channels_are_spherical():
    """Spec 7: condition numbers near 1e6 would cost single precision the image."""
    problem = with_settings(SMALL, channel="geometric", voxel_m=0.1, snr_db=40.0)
    double = drawn(problem, 3)
    single = double.to(dtype=torch.float32)
    found = OracleLeastSquares().solve(problem, single).decision.estimate
    wanted = OracleLeastSquares().solve(problem, single.to(dtype=torch.float64)).decision.estimate
    assert found.dtype == torch.complex64
    torch.testing.assert_close(found.to(wanted.dtype), wanted, rtol=1e-6, atol=1e-6)


def test_no_information__fails_without_nan():
    instance = drawn(SMALL, 2)
    dark = instance.replace(probe=torch.zeros_like(instance.probe))
    found = LeastSquares().solve(SMALL, dark)
    assert (found.status == int(Status.FAILED)).all()
    assert found.decision.estimate.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_constant_beam__leaves_the_information_singular_without_the_data(dtype):
    """One direction and 20 users tell 20 of 32 voxels apart; four they can, or all with symbols."""
    problem = ImagingRecovery(scenario=RecoveryScenario.preset("constant-beam"))
    instance = drawn(problem, 4).to(dtype=dtype)
    found = LeastSquares().solve(problem, instance)
    assert (found.status == int(Status.FAILED)).all()
    assert (found.decision.estimate == 0).all()
    for solver in (LeastSquaresGenie(), OracleLeastSquaresStep1(), OracleLeastSquares()):
        known = solver.solve(problem, instance)
        assert (known.status == int(Status.CONVERGED)).all()
        assert (problem.evaluate(instance, known.decision).objective > 15).all()
