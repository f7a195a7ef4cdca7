import torch

from baselines import solve
from baselines.power_control.random_power import RandomPower
from isac_gym.core.units import linear_to_db
from tests.baselines.cases import draw


def test_random__is_a_function_of_instance_and_seed_only():
    setup, instance = draw(8)
    whole = solve(setup, instance, RandomPower(), seed=1).decision.power
    alone = solve(setup, instance[5:6], RandomPower(), seed=1).decision.power
    assert torch.equal(alone[0], whole[5])
    assert not torch.equal(solve(setup, instance, RandomPower(), seed=2).decision.power, whole)


def test_random__is_uniform_in_decibels_before_the_projection():
    setup, instance = draw(2000, threshold_db=-40.0)
    level = linear_to_db(solve(setup, instance, RandomPower()).decision.power).flatten()
    edges = torch.linspace(-30, 0, 7, dtype=torch.float64)
    counts = torch.histogram(level, edges).hist / level.numel()
    assert level.min() >= -30
    assert level.max() <= 0
    assert (counts - 1 / 6).abs().max() < 0.02


def test_random__is_feasible():
    setup, instance = draw(200)
    solution = solve(setup, instance, RandomPower(low_db=-60.0))
    assert setup.evaluate(instance, solution.decision).is_feasible.all()
