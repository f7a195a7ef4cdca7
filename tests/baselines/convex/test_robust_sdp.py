import numpy as np
import pytest
import torch

from baselines.convex.robust_sdp import RobustProgramme
from isac_gym.physics.worst_case import worst_case
from tests.baselines.convex.robust_cases import draw, exact, matched, networks

PAIR = {"num_bs": 2, "num_antennas": 2, "num_streams": 2, "num_targets": 1}


def programme(network, *, is_sensing):
    num_targets = network.targets.angle.shape[1] if is_sensing else 0
    return RobustProgramme.compiled(network.channel.shape[1:], num_targets)


def rank_one(beam):
    """Principal eigenvectors (I, K, N) of beam covariances and the largest share of the others."""
    value, vector = np.linalg.eigh(beam)
    rest = (value[..., :-1].sum(-1) / value[..., -1]).max()
    return vector[..., -1] * np.sqrt(value[..., -1:]), rest


@pytest.mark.parametrize("is_sensing", [False, True])
@pytest.mark.parametrize("users", [1, 2])
def test_programme__is_dpp_and_compiled_once(users, is_sensing):
    network = networks(draw(num_users=users)[1])[0]
    found = programme(network, is_sensing=is_sensing)
    assert found.problem.is_dcp(dpp=True)
    assert programme(network, is_sensing=is_sensing) is found


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
@pytest.mark.parametrize(("users", "is_sensing"), [(1, False), (1, True), (2, False)])
def test_programme__repaired_multipliers_are_as_good_as_the_solver_says(users, is_sensing, share):
    _, instance = draw(2, num_users=users)
    for lane, network in enumerate(networks(instance)):
        sinr = np.full(network.channel.shape[1:3], 2.0 ** (8 * share) - 1)
        crlb = 1.5 * instance.crlb_bound[lane].item() if is_sensing else None
        answer = programme(network, is_sensing=is_sensing).solve(network, sinr, crlb_m2=crlb)
        assert answer is not None
        bound = answer.cut.power_scale(sinr, 1 / crlb if crlb else 0.0)
        if answer.power_scale > 15:  # forgiven noise: no power is enough
            assert bound > 1
            continue
        assert bound <= answer.power_scale * (1 + 1e-6)
        assert bound == pytest.approx(answer.power_scale, rel=3e-3)


@pytest.mark.parametrize("antennas", [3, pytest.param(5, marks=pytest.mark.slow)])
def test_programme__rank_one_answers_meet_the_targets_exactly(antennas):
    """Independent check of the S-lemma rows: the exact worst case equals each target."""
    _, instance = draw(2, num_antennas=antennas)
    for lane, network in enumerate(networks(instance)):
        own = np.stack([network.channel[c, c] for c in range(3)])
        gain = 10.0 * np.linalg.norm(own, axis=-1) ** 2
        sinr = gain**0.6  # every base station has something to do
        answer = programme(network, is_sensing=False).solve(network, sinr)
        beam, rest = rank_one(answer.beam)
        assert rest < 1e-3
        v = torch.from_numpy(beam)[None]
        row = instance[lane : lane + 1]
        worst = worst_case(row.channel, row.radius, v, v.mT @ v.conj()).sinr[0].numpy()
        np.testing.assert_allclose(worst, sinr, rtol=2e-3)
        power = np.einsum("cnn->c", answer.beam.sum(1)).real / network.max_power_w
        assert power.max() == pytest.approx(answer.power_scale, rel=1e-4)


def test_programme__meets_the_cap_on_the_crlb():
    setup, instance = draw()
    network, crlb = networks(instance)[0], 1.5 * instance.crlb_bound.item()
    answer = programme(network, is_sensing=True).solve(network, np.ones((3, 1)), crlb_m2=crlb)
    covariance = torch.from_numpy(answer.beam.sum(1) + answer.sensing)[None]
    found = setup.position_bounds(instance, covariance).sum().item()
    assert found == pytest.approx(crlb, rel=1e-4)
    # 1 / CRLB is homogeneous: alone, this cap takes the share bound / cap of the budgets or more.
    assert answer.power_scale >= 1 / 1.5 - 1e-6


@pytest.mark.parametrize(("users", "is_sensing"), [(1, False), (1, True), (2, False)])
def test_programme__never_refutes_what_a_decision_attains(users, is_sensing):
    setup, instance = draw(2, num_users=users)
    decision = matched(setup, instance, share=0.5 if is_sensing else 1.0)
    sinr, crlb = exact(setup, instance, decision)
    for lane, network in enumerate(networks(instance)):
        cap = crlb[lane].item() if is_sensing else None
        found = programme(network, is_sensing=is_sensing)
        answer = found.solve(network, sinr[lane], crlb_m2=cap)
        assert answer.power_scale <= 1 + 1e-6
        assert answer.cut.power_scale(sinr[lane], 1 / cap if cap else 0.0) <= 1


@pytest.mark.parametrize("users", [1, 2])
def test_programme__refutes_what_no_power_attains(users):
    network = networks(draw(num_users=users, csi_error=0.3)[1])[0]
    sinr = np.full(network.channel.shape[1:3], 1e4)
    answer = programme(network, is_sensing=False).solve(network, sinr)
    assert answer.power_scale == pytest.approx(16, rel=0.05)
    assert answer.cut.power_scale(sinr) > 2


@pytest.mark.parametrize("silent", [0, 2])
def test_programme__users_without_target_carry_no_weight(silent):
    network = networks(draw()[1])[0]
    sinr = np.full((3, 1), 30.0)
    sinr[silent] = 0.0
    answer = programme(network, is_sensing=False).solve(network, sinr)
    assert (answer.cut.signal[silent] == 0).all()
    assert np.abs(answer.beam[silent]).max() < 1e-4 * network.max_power_w[silent]


def test_programme__solves_exact_channels():
    """Radius zero: no interior for the multiplier, yet bound and point agree."""
    _, instance = draw(csi_error=0.0)
    network, sinr = networks(instance)[0], np.full((3, 1), 50.0)
    answer = programme(network, is_sensing=False).solve(network, sinr)
    assert answer.cut.power_scale(sinr) == pytest.approx(answer.power_scale, rel=3e-3)


def test_programme__forgets_earlier_instances():
    """Clarabel's data update keeps the scaling of the first problem; answers would depend on it."""
    network = networks(draw(**PAIR)[1])[0]
    loud = network._replace(channel=1e3 * network.channel, radius=1e3 * network.radius)
    sinr, answers = np.full((2, 1), 30.0), []
    for before in (network, loud):
        found = RobustProgramme((2, 1, 2), 0)
        found.solve(before, sinr)
        answers.append(found.solve(network, sinr))
    assert answers[0].power_scale == answers[1].power_scale
    np.testing.assert_array_equal(answers[0].cut.load, answers[1].cut.load)


def test_programme__solver_failures_are_none(monkeypatch):
    import cvxpy as cp

    network = networks(draw()[1])[0]
    found = programme(network, is_sensing=False)

    def fail(**_):
        raise cp.SolverError("planted")

    monkeypatch.setattr(found.problem, "solve", fail)
    assert found.solve(network, np.ones((3, 1))) is None


def test_programme__answers_scale_with_the_power_unit():
    """Ten times the budget over ten times the noise power is the same network."""
    _, instance = draw()
    network, sinr = networks(instance)[0], np.full((3, 1), 40.0)
    other = network._replace(
        channel=network.channel / 10**0.5,
        radius=network.radius / 10**0.5,
        max_power_w=10 * network.max_power_w,
    )
    first, second = (programme(n, is_sensing=False).solve(n, sinr) for n in (network, other))
    assert second.power_scale == pytest.approx(first.power_scale, rel=1e-5)
    np.testing.assert_allclose(second.beam, 10 * first.beam, rtol=1e-3, atol=1e-5)
