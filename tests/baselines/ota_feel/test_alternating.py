import pytest
import torch

from baselines.registry import make_solver
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget, Status
from isac_gym.physics.aggregation import separation_floor
from isac_gym.physics.precoding import strongest_directions
from isac_gym.problems.ota_feel.model import OtaFeel
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario


def drawn(preset, batch=8, seed=0):
    problem = family("ota_feel").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(seed, batch))


def metrics(problem, instance, solution):
    return problem.evaluate(instance, solution.decision)


@pytest.mark.parametrize("preset", ["coherent", "paper", "unequal", "path-loss", "high-snr"])
def test_ao__never_loses_and_keeps_the_budgets(preset):
    problem, instance = drawn(preset)
    solution = make_solver("ota_feel", "ao", iterations=30).solve(problem, instance)
    history = solution.trace.objective
    assert (history[:, 1:] >= history[:, :-1] - 1e-10).all()
    found = metrics(problem, instance, solution)
    assert (found.violation <= 1e-12).all()
    torch.testing.assert_close(found.objective, history[:, -1], rtol=1e-9, atol=1e-8)


@pytest.mark.parametrize(("rounds", "least", "most"), [(10, 0.0050, 0.0068), (50, 0.0036, 0.0049)])
def test_ao__from_singular_directions_is_as_slow_as_specified(rounds, least, most):
    """Specification: medians .0058 and .0043 after 10 and 50 rounds."""
    problem, instance = drawn("coherent", 16)
    start = OtaFeelDecision(strongest_directions(instance.channel, instance.max_power_w, 2))
    solution = make_solver("ota_feel", "ao").solve(
        problem, instance, start=start, budget=Budget(iterations=rounds)
    )
    assert least < float(metrics(problem, instance, solution).nmse.median()) < most


def test_ao__common_directions_save_three_quarters_of_the_rounds():
    problem, instance = drawn("coherent", 16)
    solver = make_solver("ota_feel", "ao")
    svd = OtaFeelDecision(strongest_directions(instance.channel, instance.max_power_w, 2))
    slow = solver.solve(problem, instance, start=svd, budget=Budget(iterations=100))
    quick = solver.solve(problem, instance, budget=Budget(iterations=25))
    left, right = (metrics(problem, instance, each).nmse for each in (quick, slow))
    assert float(left.median()) < float(right.median())


def test_ao__over_relaxation_saves_rounds():
    problem, instance = drawn("high-snr", 16)
    left, right = (
        make_solver("ota_feel", "ao", iterations=count, relaxation=step).solve(problem, instance)
        for count, step in ((60, 1.9), (100, 1.0))
    )
    left, right = (metrics(problem, instance, each).nmse for each in (left, right))
    assert float(left.median()) < float(right.median())


def test_ao__reaches_the_specified_error_with_pulses_and_not_the_floor():
    problem, instance = drawn("paper", 16)
    solution = make_solver("ota_feel", "ao").solve(problem, instance)
    found = metrics(problem, instance, solution)
    assert float(found.nmse.median()) == pytest.approx(0.4703, abs=3e-4)
    floor = separation_floor(instance.weight, 16) / instance.weight.square().sum((1, 2))
    torch.testing.assert_close(floor, torch.full_like(floor, 14 / 30))
    assert (found.nmse > floor).all()


def test_ao__a_lane_does_not_depend_on_its_batch():
    problem, instance = drawn("paper", 6)
    solver = make_solver("ota_feel", "ao", iterations=60, tolerance=2e-5)
    whole = solver.solve(problem, instance)
    assert len(set(whole.iterations.tolist())) > 1  # lanes stop by themselves
    for row in range(6):
        alone = solver.solve(problem, instance[row : row + 1])
        assert int(alone.iterations) == int(whole.iterations[row])
        torch.testing.assert_close(
            alone.decision.precoder[0], whole.decision.precoder[row], rtol=1e-9, atol=1e-11
        )


def test_ao__least_total_power_is_spent_and_free_in_the_null_space():
    problem, instance = drawn("high-snr")
    free = make_solver("ota_feel", "ao", iterations=30).solve(problem, instance)
    full = make_solver("ota_feel", "ao", iterations=30, min_total_power_w=15.0)
    full = full.solve(problem, instance)
    left, right = (metrics(problem, instance, each) for each in (full, free))
    assert (right.power_w.sum(-1) < 14.9).any()
    assert (left.power_w.sum(-1) >= 15 * (1 - 1e-9)).all()
    assert (left.violation <= 1e-9).all()
    torch.testing.assert_close(left.nmse, right.nmse, rtol=0.05, atol=0)  # another path


def test_ao__more_power_than_there_is_is_infeasible():
    problem, instance = drawn("coherent", 2)
    solver = make_solver("ota_feel", "ao", iterations=2, min_total_power_w=15.1)
    solution = solver.solve(problem, instance)
    assert (solution.status == int(Status.INFEASIBLE)).all()
    power = metrics(problem, instance, solution).power_w
    torch.testing.assert_close(power, instance.max_power_w, rtol=1e-9, atol=0)


def test_ao__a_bad_lane_fails_alone():
    problem, instance = drawn("coherent", 3)
    solver = make_solver("ota_feel", "ao", iterations=5)
    good = solver.solve(problem, instance)
    instance.channel[1, 0, 0, 0] = torch.nan
    bad = solver.solve(problem, instance)
    assert bad.status.tolist()[1] == int(Status.FAILED)
    assert torch.equal(bad.decision.precoder[[0, 2]], good.decision.precoder[[0, 2]])


def test_ao__has_no_trace_of_what_it_does_not_optimise():
    problem, instance = drawn("joint", 2)
    assert make_solver("ota_feel", "ao", iterations=2).solve(problem, instance).trace is None


@pytest.mark.parametrize("preset", ["high-snr", "joint"])
def test_null_space__spends_all_power_at_no_error_and_lights_the_target(preset):
    problem, instance = drawn(preset)
    plain = make_solver("ota_feel", "ao", iterations=30).solve(problem, instance)
    filled = make_solver("ota_feel", "ao-null-space", iterations=30).solve(problem, instance)
    before, after = (metrics(problem, instance, each) for each in (plain, filled))
    torch.testing.assert_close(after.power_w, instance.max_power_w, rtol=1e-9, atol=0)
    torch.testing.assert_close(after.nmse, before.nmse, rtol=2e-3, atol=0)  # receivers gain a bit
    assert (after.nmse <= before.nmse * (1 + 1e-12)).all()
    a, _ = problem.responses(instance)

    def lit(solution):
        return (a[..., None, :] @ solution.decision.precoder).abs().square().sum((-2, -1))

    assert (lit(filled) >= lit(plain) * (1 - 1e-12)).all()
    assert float(after.crb_ideal_m2.median()) < 0.95 * float(before.crb_ideal_m2.median())


def test_null_space__is_empty_with_pulses_or_as_many_streams_as_antennas():
    problem, instance = drawn("paper", 2)
    plain = make_solver("ota_feel", "ao", iterations=3).solve(problem, instance)
    filled = make_solver("ota_feel", "ao-null-space", iterations=3).solve(problem, instance)
    assert torch.equal(plain.decision.precoder, filled.decision.precoder)
    problem = OtaFeel(scenario=OtaFeelScenario(pulse="none", device_antennas=2))
    instance = problem.sample(Streams.from_seed(0, 2))
    plain = make_solver("ota_feel", "ao", iterations=3).solve(problem, instance)
    filled = make_solver("ota_feel", "ao-null-space", iterations=3).solve(problem, instance)
    torch.testing.assert_close(filled.decision.precoder, plain.decision.precoder)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("iterations", 0),
        ("tolerance", 0.0),
        ("tolerance", float("nan")),
        ("relaxation", 2.0),
        ("relaxation", 0.0),
        ("min_total_power_w", -1.0),
        ("min_total_power_w", float("inf")),
    ],
)
def test_ao__bad_fields_are_named(field, value):
    with pytest.raises(ScenarioError, match=field):
        make_solver("ota_feel", "ao", **{field: value})
