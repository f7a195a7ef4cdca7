import numpy as np
import pytest
import torch
from scipy.optimize import brentq

from baselines.robust_beamforming import closed_form
from baselines.robust_beamforming.front import RobustWmmseFront, RzfSplitFront, WmmseFront
from baselines.robust_beamforming.wmmse import RobustWmmse, Wmmse, design_rate, wmmse_step
from isac_gym.core import Budget, ScenarioError, Status
from isac_gym.physics.worst_case import sinr_at
from isac_gym.problems.robust_beamforming.front import RobustFront, RobustFrontScenario
from tests.oracles import robust_beamforming as oracle
from tests.problems.robust_beamforming.helpers import draw, make, uneven

KINDS = [Wmmse(), RobustWmmse()]


def oracle_step(channel, error, weight, power, beam):
    """One WMMSE round of one instance by loops: receivers, weights, beams, bisected budgets."""
    cells, users, antennas = beam.shape
    streams = [(l, j) for l in range(cells) for j in range(users)]
    receiver, importance = np.zeros((cells, users), complex), np.zeros((cells, users))
    for c, k in streams:
        total = 1.0
        for l, j in streams:
            total += abs(np.vdot(channel[l, c, k], beam[l, j])) ** 2
            if (l, j) != (c, k):
                total += error[l, c, k] * np.linalg.norm(beam[l, j]) ** 2
        amplitude = np.vdot(channel[c, c, k], beam[c, k])
        receiver[c, k] = amplitude / total
        importance[c, k] = weight[c, k] / (1 - abs(amplitude) ** 2 / total)
    out = np.zeros_like(beam)
    for l in range(cells):

        def beams(mu, l=l):
            found = []
            for j in range(users):
                matrix = mu * np.eye(antennas, dtype=complex)
                for c, k in streams:
                    price = importance[c, k] * abs(receiver[c, k]) ** 2
                    h = channel[l, c, k]
                    matrix += price * np.outer(h, h.conj())
                    if (c, k) != (l, j):
                        matrix += price * error[l, c, k] * np.eye(antennas)
                wanted = importance[l, j] * receiver[l, j] * channel[l, l, j]
                found.append(np.linalg.lstsq(matrix, wanted, rcond=1e-12)[0])
            return np.array(found)

        def excess(mu, l=l, beams=beams):
            return np.linalg.norm(beams(mu)) ** 2 - power[l]

        mu, high = 0.0, 1.0
        if excess(0.0) > 0:
            while excess(high) > 0:
                high *= 10
            mu = brentq(excess, 0.0, high, xtol=1e-300, rtol=1e-14)
        out[l] = beams(mu)
    return out


@pytest.mark.parametrize("preset", ["paper", "two-users", "csi-20"])
@pytest.mark.parametrize("kind", KINDS, ids=["nominal", "robust"])
def test_step__follows_the_loops(kind, preset):
    problem = make(preset)
    instance = uneven(draw(problem, 2))
    network = kind.network(instance)
    beam = closed_form.beams(instance, "rzf")
    theirs = [beam[row].numpy() for row in range(2)]
    for _ in range(4):
        beam = wmmse_step(network, beam)
        for row in range(2):
            fields = (t[row].numpy() for t in network)
            theirs[row] = oracle_step(*fields, theirs[row])
            size = np.abs(theirs[row]).max()
            np.testing.assert_allclose(beam[row], theirs[row], rtol=0, atol=1e-8 * size)


@pytest.mark.parametrize("preset", ["paper", "two-users", "large"])
@pytest.mark.parametrize("kind", KINDS, ids=["nominal", "robust"])
def test_step__never_lowers_the_rate_and_keeps_the_budgets(kind, preset):
    instance = uneven(draw(make(preset), 16))
    network = kind.network(instance)
    beam = closed_form.beams(instance, "rzf")
    last = design_rate(network, beam)
    first = last
    for _ in range(60):
        beam = wmmse_step(network, beam)
        rate = design_rate(network, beam)
        assert (rate >= last * (1 - 1e-10)).all()
        spent = beam.abs().square().sum((-2, -1))
        assert (spent <= instance.max_power_w * (1 + 1e-9)).all()
        last = rate
    assert (last > first).all()


def test_design_rate__is_the_nominal_rate_without_errors():
    problem = make("two-users")
    instance = uneven(draw(problem))
    beam = closed_form.beams(instance, "rzf")
    found = design_rate(Wmmse().network(instance), beam)
    cov = torch.einsum("blkn,blkm->blnm", beam, beam.conj())
    sinr = sinr_at(instance.channel, beam, cov)
    expected = (instance.weight * torch.log2(1 + sinr)).sum((-2, -1))
    torch.testing.assert_close(found, expected, rtol=1e-11, atol=0)
    for row in range(4):
        theirs = oracle.nominal_sinr(
            instance.channel[row].numpy(), beam[row].numpy(), cov[row].numpy()
        )
        np.testing.assert_allclose(sinr[row], theirs, rtol=1e-9)


def test_robust__is_the_nominal_one_where_csi_is_exact():
    problem = make("csi-0")
    instance = draw(problem)
    ours, theirs = (kind.solve(problem, instance).decision for kind in KINDS)
    assert torch.equal(ours.beam, theirs.beam)


def test_solve__beats_regularised_zero_forcing_on_its_own_ground():
    problem = make("csi-0", preference=1.0, preference_spread=0.0)
    instance = draw(problem, 32)
    mine = problem.evaluate(instance, Wmmse(share=0.0).solve(problem, instance).decision)
    rzf = closed_form.RzfSplit(share=0.0).solve(problem, instance).decision
    theirs = problem.evaluate(instance, rzf)
    assert (mine.worst_rate_bps_hz >= theirs.worst_rate_bps_hz).all()
    assert (mine.worst_rate_bps_hz - theirs.worst_rate_bps_hz).mean() > 0.1


def test_solve__statuses_budgets_and_lanes():
    problem = make()
    instance = draw(problem, 6)
    solution = Wmmse(iterations=300).solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).any()
    cut = Wmmse().solve(problem, instance, budget=Budget(iterations=2))
    assert int(cut.iterations.max()) == 2
    for row in (0, 5):
        alone = Wmmse(iterations=300).solve(problem, instance[row : row + 1])
        theirs = solution.decision.beam[row : row + 1]
        torch.testing.assert_close(alone.decision.beam, theirs, rtol=0, atol=1e-9)
        assert int(alone.iterations) == int(solution.iterations[row])


@pytest.mark.parametrize("error", [pytest.param(0.05, marks=pytest.mark.slow), 0.1])
def test_front__beats_regularised_zero_forcing(error):
    problem = RobustFront(scenario=RobustFrontScenario(csi_error=error))
    instance = draw(problem, 8)
    area = {
        solver.name: problem.evaluate(instance, solver.solve(problem, instance).decision).objective
        for solver in (RzfSplitFront(), WmmseFront(), RobustWmmseFront())
    }
    assert area["wmmse-split"].mean() > area["rzf-split"].mean()
    assert area["robust-wmmse-split"].mean() > area["rzf-split"].mean()


@pytest.mark.parametrize(
    ("field", "value"),
    [("iterations", 0), ("tolerance", -1e-3), ("spread", -1.0), ("spread", float("nan"))],
)
def test_wmmse__refuses(field, value):
    with pytest.raises(ScenarioError, match=f"{field} must be"):
        Wmmse(**{field: value})


def test_wmmse__refuses_a_share_above_one():
    with pytest.raises(ScenarioError, match="share must be"):
        RobustWmmse(share=1.5)
