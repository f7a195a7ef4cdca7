import math

import pytest
import torch
from scipy import stats

from isac_gym.core import Streams
from isac_gym.problems.robust_beamforming import FAMILY
from isac_gym.problems.robust_beamforming.csi import Knowledge, age, ball_factor, grown_radius
from isac_gym.problems.robust_beamforming.geometry import channel_amplitude, norm

BATCH, RHO = 256, 0.998


def begin(preset="paper"):
    problem = FAMILY.make_problem(preset)
    i = problem.sample(Streams.from_seed(2, BATCH))
    amplitude = channel_amplitude(problem.scenario, i.bs, i.user)
    return Knowledge(i.channel, i.radius, i.true_channel), amplitude, problem.scenario


def step(known, amplitude, scenario, number, sent, *, rho=RHO, coverage=0.999):
    return age(
        known,
        amplitude,
        sent,
        Streams.from_seed(2, BATCH).at_step(number),
        correlation=rho,
        factor=ball_factor(scenario.num_antennas, coverage),
        csi_error=scenario.csi_error,
    )


@pytest.mark.parametrize("antennas", [2, 5, 8, 32])
@pytest.mark.parametrize("coverage", [0.5, 0.99, 0.999])
def test_ball_factor__is_the_gamma_quantile(antennas, coverage):
    expected = stats.gamma(antennas).ppf(coverage) / antennas
    assert ball_factor(antennas, coverage) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("rho", "least", "mean"), [(0.998, 0.97, 0.993), (0.98, 0.98, 0.995)])
def test_balls__hold_the_channels(rho, least, mean):
    known, amplitude, scenario = begin()
    none, held = torch.zeros(BATCH, 3, dtype=torch.bool), []
    for number in range(1, 13):
        known = step(known, amplitude, scenario, number, none, rho=rho)
        gap = norm(known.true_channel - known.channel)
        held.append(float((gap <= known.radius).double().mean()))
    assert min(held) > least
    assert sum(held) / len(held) > mean


def test_balls__need_their_factor():
    known, amplitude, scenario = begin()
    none = torch.zeros(BATCH, 3, dtype=torch.bool)
    for number in range(1, 13):  # balls for the mean error only
        known = step(known, amplitude, scenario, number, none, coverage=0.5)
    gap = norm(known.true_channel - known.channel)
    assert float((gap <= known.radius).double().mean()) < 0.8


def test_radius__grows_as_the_recursion_says():
    _, amplitude, scenario = begin()
    q = ball_factor(scenario.num_antennas, 0.99)
    radius = torch.zeros_like(amplitude)
    for slots in range(1, 8):
        radius = grown_radius(radius, amplitude, 5, correlation=RHO, factor=q)
        expected = amplitude * math.sqrt(q * 5 * (1 - RHO ** (2 * slots)))
        torch.testing.assert_close(radius, expected)


def test_pilots__refresh_the_own_cell_only():
    known, amplitude, scenario = begin()
    sent = torch.zeros(BATCH, 3, dtype=torch.bool)
    sent[:, 1] = True
    after = step(known, amplitude, scenario, 1, sent)
    idle = step(known, amplitude, scenario, 1, torch.zeros_like(sent))
    for cell in (0, 2):
        torch.testing.assert_close(after.channel[:, :, cell], RHO * known.channel[:, :, cell])
        assert torch.equal(after.radius[:, :, cell], idle.radius[:, :, cell])
    fresh, gap = after.radius[:, :, 1], norm(after.true_channel - after.channel)[:, :, 1]
    torch.testing.assert_close(fresh, scenario.csi_error * norm(after.channel)[:, :, 1])
    assert (gap <= fresh).all()
    assert float((gap / fresh).median()) > 0.7  # not a ball that is never used
    assert torch.equal(after.true_channel, idle.true_channel)


def test_fading__is_stationary():
    known, amplitude, scenario = begin()
    none = torch.zeros(BATCH, 3, dtype=torch.bool)
    for number in range(1, 60):
        known = step(known, amplitude, scenario, number, none, rho=0.9)
    power = known.true_channel.abs().square().mean(-1) / amplitude.square()
    assert float(power.mean()) == pytest.approx(1, abs=0.03)
