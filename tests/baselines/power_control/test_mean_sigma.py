import numpy as np
import pytest
import torch

from baselines import solve
from baselines.power_control.exact import Exact
from baselines.power_control.mean_sigma import MinMeanSigma
from baselines.power_control.random_power import RandomPower
from tests.baselines.cases import draw, oracle_networks, unlike_network
from tests.oracles import power_control_optimum as oracle


def mean_sigma(setup, instance, solver, **options):
    decision = solve(setup, instance, solver, **options).decision
    return setup.evaluate(instance, decision).mean_sigma_m


@pytest.mark.parametrize("preset", ["paper-constrained", "high-si", "dense-7"])
def test_min_mean_sigma__converges_and_beats_max_min(preset):
    setup, instance = draw(100, preset=preset)
    best = mean_sigma(setup, instance, MinMeanSigma(), throw=True)
    assert (best <= mean_sigma(setup, instance, Exact()) * (1 + 1e-7)).all()
    for seed in range(5):
        other = mean_sigma(setup, instance, RandomPower(), seed=seed)
        assert (best <= other * (1 + 1e-7)).all()


def test_min_mean_sigma__equals_the_geometric_programme():
    setup, instance = draw(3)
    solution = solve(setup, instance, MinMeanSigma(tolerance=1e-9))
    for row, net in enumerate(oracle_networks(setup, instance)):
        value, x = oracle.gp_min_weighted_std(net, np.ones(3), 0.5)
        ours = solution.decision.power[row].numpy()
        sinr = ours / (net.f @ ours + net.n)
        np.testing.assert_allclose((sinr**-0.5).sum(), value, rtol=1e-8)
        np.testing.assert_allclose(ours, x, atol=1e-4)


def test_min_mean_sigma__handles_unlike_stations_and_missing_thresholds():
    setup, instance = draw(32)
    for case in (
        unlike_network(setup, instance),
        instance.replace(threshold=instance.threshold * 0),
    ):
        best = mean_sigma(setup, case, MinMeanSigma(), throw=True)
        assert (best <= mean_sigma(setup, case, Exact()) * (1 + 1e-7)).all()


def test_min_mean_sigma__row_alone_equals_row_in_batch():
    setup, instance = draw(6)
    whole = MinMeanSigma().solve(setup, instance).decision.power
    assert torch.equal(MinMeanSigma().solve(setup, instance[3:4]).decision.power[0], whole[3])
