import math

import numpy as np
import pytest

from baselines.convex import robust_rates
from baselines.convex.robust_cuts import Network
from baselines.convex.robust_rates import Chebyshev, SumRate, bound_rates
from isac_gym.core.errors import ScenarioError
from tests.baselines.convex.robust_cases import draw, exact, matched, networks, random_decision

PAIR = {"num_bs": 2, "num_antennas": 2, "num_streams": 2, "num_targets": 1}


def best_pair_rate(network, weight, *, count=201):
    """Weighted sum rate of two links with exact channels, by a scan of all Pareto beams.

    Full power on v ~ t MRT + (1 - t) ZF, t in [0, 1], is enough for two users (Jorswieck, Larsson
    and Danev 2008, Corollary 2).
    """
    t = np.linspace(0, 1, count)[:, None]
    gains = []
    for b in range(2):
        own, other = network.channel[b, b, 0], network.channel[b, 1 - b, 0]
        zero = own - other * (np.vdot(other, own) / np.vdot(other, other))
        v = t * own / np.linalg.norm(own) + (1 - t) * zero / np.linalg.norm(zero)
        v *= np.sqrt(network.max_power_w[b]) / np.linalg.norm(v, axis=1, keepdims=True)
        gains.append([np.abs(v @ h.conj()) ** 2 for h in (own, other)])
    first = np.log2(1 + gains[0][0][:, None] / (1 + gains[1][1][None, :]))
    second = np.log2(1 + gains[1][0][None, :] / (1 + gains[0][1][:, None]))
    return (weight[0] * first + weight[1] * second).max()


@pytest.mark.parametrize("weight", [(1.0, 1.0), (1.0, 0.2)])
def test_bound__equals_the_known_optimum_of_two_links(weight):
    _, instance = draw(2, csi_error=0.0, **PAIR)
    weight = np.array(weight)
    for network in networks(instance):
        best = best_pair_rate(network, weight)
        bound = bound_rates(network, weight, SumRate(), gap=0.01)
        assert bound.has_closed
        assert best - 1e-3 <= bound.upper <= best + 0.02
        assert bound.reached <= best + 0.02


def test_bound__without_cross_links_is_the_closed_form():
    _, instance = draw(**PAIR)
    network = networks(instance)[0]
    network = network._replace(channel=network.channel.copy(), radius=network.radius.copy())
    for b in range(2):
        network.channel[b, 1 - b], network.radius[b, 1 - b] = 0, 0
    bound = bound_rates(network, np.ones(2), SumRate(), gap=0.01)
    alone = [np.linalg.norm(network.channel[c, c]) - network.radius[c, c, 0] for c in range(2)]
    best = np.log2(1 + network.max_power_w * np.square(alone)).sum()
    assert best - 0.01 <= bound.reached <= bound.upper <= best + 1e-9
    assert bound.has_closed


@pytest.mark.parametrize("preference", [0.0, 0.3, 0.7, 1.0])
def test_bound__holds_for_decisions_at_every_preference(preference):
    setup, instance = draw(2, preference=preference, **PAIR)
    weight = np.ones(2)
    decisions = [random_decision(setup, instance, beam_share=s) for s in (0.01, 0.5, 0.99)]
    decisions += [matched(setup, instance, share=s) for s in (0.01, 0.2, 0.5, 0.9, 1.0)]
    values = [setup.evaluate(instance, d).objective for d in decisions]
    for lane, network in enumerate(networks(instance)):
        bounds = instance.rate_bound[lane].item(), instance.crlb_bound[lane].item()
        aim = Chebyshev(preference, *bounds)
        best = max(value[lane].item() for value in values)
        bound = bound_rates(network, weight, aim, gap=0.01, incumbent=best)
        assert best <= bound.upper + 1e-9
        assert bound.upper <= 0
        assert bound.has_closed


def test_bound__cap_on_the_crlb_costs_rate():
    setup, instance = draw(**PAIR)
    network, weight, least = networks(instance)[0], np.ones(2), instance.crlb_bound.item()
    free = bound_rates(network, weight, SumRate(), gap=0.05)
    capped = bound_rates(network, weight, SumRate(1.2 * least), gap=0.05)
    assert capped.upper < free.upper
    decision = matched(setup, instance, share=0.2)
    sinr, crlb = exact(setup, instance, decision)
    loose = bound_rates(network, weight, SumRate(crlb.item()), gap=0.05)
    assert np.log2(1 + sinr).sum() <= loose.upper


def test_bound__is_nothing_where_the_cap_is_out_of_reach():
    _, instance = draw(**PAIR)
    aim = SumRate(0.9 * instance.crlb_bound.item())
    assert bound_rates(networks(instance)[0], np.ones(2), aim, gap=0.05).upper <= 0.05


@pytest.mark.parametrize("limit", [{"programmes": 1}, {"programmes": 4}, {"seconds": 1e-9}])
def test_bound__is_valid_when_stopped_early(limit):
    network = networks(draw(**PAIR)[1])[0]
    full = bound_rates(network, np.ones(2), SumRate(), gap=0.01)
    early = bound_rates(network, np.ones(2), SumRate(), gap=0.01, **limit)
    assert early.upper >= full.reached
    assert early.programmes <= limit.get("programmes", 1)
    assert not early.has_closed
    assert math.isfinite(early.upper)


def test_bound__incumbents_prune_but_do_not_change_it():
    network = networks(draw(**PAIR)[1])[0]
    blind = bound_rates(network, np.ones(2), SumRate(), gap=0.01)
    known = bound_rates(network, np.ones(2), SumRate(), gap=0.01, incumbent=blind.reached)
    assert known.programmes <= blind.programmes
    assert abs(known.upper - blind.upper) <= 0.01
    beaten = bound_rates(network, np.ones(2), SumRate(), gap=0.01, incumbent=blind.upper + 1)
    assert beaten.upper == beaten.reached == blind.upper + 1
    assert beaten.answer is None


def test_bound__survives_a_solver_that_never_answers(monkeypatch):
    network = networks(draw(**PAIR)[1])[0]
    full = bound_rates(network, np.ones(2), SumRate(), gap=0.01)
    monkeypatch.setattr(robust_rates.RobustProgramme, "solve", lambda *_, **__: None)
    bound = bound_rates(network, np.ones(2), SumRate(), gap=0.01)
    assert bound.upper >= full.reached
    assert not bound.has_closed


def test_bound__survives_a_solver_with_useless_multipliers(monkeypatch):
    """Answers that claim to be infeasible but prove nothing leave the bound where it was."""
    network = networks(draw(**PAIR)[1])[0]
    solve = robust_rates.RobustProgramme.solve

    def spoilt(self, *args, **kwargs):
        answer = solve(self, *args, **kwargs)
        cut = answer.cut
        weak = type(cut)(0 * cut.signal, 0 * cut.load + np.eye(2), 0.0, 0.0)
        return answer._replace(power_scale=2.0, cut=weak)

    monkeypatch.setattr(robust_rates.RobustProgramme, "solve", spoilt)
    bound = bound_rates(network, np.ones(2), SumRate(), gap=0.01, programmes=20)
    alone = [np.linalg.norm(network.channel[c, c]) - network.radius[c, c, 0] for c in range(2)]
    top = np.log2(1 + network.max_power_w * np.square(alone)).sum()
    assert bound.upper == pytest.approx(top)
    assert not bound.has_closed


def test_bound__hopeless_channels_are_worth_nothing():
    _, instance = draw(csi_error=1.5, **PAIR)
    bound = bound_rates(networks(instance)[0], np.ones(2), SumRate(), gap=0.01)
    assert bound.upper == pytest.approx(0, abs=1e-12)
    assert bound.has_closed


@pytest.mark.parametrize("preference", [0.0, 0.4, 1.0])
def test_chebyshev__lines_invert_the_objective(preference):
    aim = Chebyshev(preference, 20.0, 0.02)
    least, most = aim.levels
    assert least == -max(preference, 1 - preference)
    assert most == 0
    for level in (-0.3, -0.1, 0.0):
        rate = aim.rate_line[0] + aim.rate_line[1] * level
        information = aim.information_line[0] + aim.information_line[1] * level
        lost = max(preference * (1 - rate / 20), (1 - preference) * (1 - 0.02 * information))
        assert -lost == pytest.approx(level)


def test_bound__refuses_several_users_and_missing_targets():
    network = networks(draw(num_users=2)[1])[0]
    with pytest.raises(ScenarioError, match="K = 1"):
        bound_rates(network, np.ones(3), SumRate(), gap=0.1)
    blind = Network(*networks(draw(**PAIR)[1])[0][:3])
    with pytest.raises(ScenarioError, match="targets"):
        bound_rates(blind, np.ones(2), SumRate(0.1), gap=0.1)
