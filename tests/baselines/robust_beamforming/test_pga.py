import pytest
import torch

from baselines import solve
from baselines.robust_beamforming.closed_form import RzfSplit
from baselines.robust_beamforming.objective import scalarise, utilities
from baselines.robust_beamforming.pga import Pga, PgaNominal, warm_start
from isac_gym.core import Budget, ScenarioError, Status
from tests.problems.robust_beamforming.helpers import decide, draw, make, power_of, uneven

QUICK = {"iterations": 25}


def value_of(problem, instance, solver, decision):
    found = utilities(problem, instance, decision, steps=10)
    return scalarise(solver.scalarisation, instance.preference, found, smoothing=solver.smoothing)


@pytest.mark.parametrize("kind", ["chebyshev", "weighted-sum", "epsilon"])
def test_solve__returns_the_best_iterate(kind):
    problem = make()
    instance = draw(problem)
    solver = Pga(scalarisation=kind, **QUICK)
    solution = solver.solve(problem, instance)
    history = solution.trace.objective
    assert history.shape == (4, 25)
    assert (history.diff(dim=1) >= 0).all()
    assert (history[:, -1] > history[:, 0]).all()
    reached = value_of(problem, instance, solver, solution.decision)
    torch.testing.assert_close(reached, history[:, -1], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("preset", ["paper", "two-users", "unresolved"])
def test_solve__keeps_uneven_budgets(preset):
    problem = make(preset)
    instance = problem.anchored(uneven(draw(problem)))
    decision = Pga(iterations=10).solve(problem, instance).decision
    assert (power_of(decision) <= instance.max_power_w * (1 + 1e-12)).all()


def test_solve__beats_closed_forms_and_the_nominal_design():
    problem = make()
    instance = draw(problem, 16)
    value = {
        solver.name: problem.evaluate(instance, solver.solve(problem, instance).decision).objective
        for solver in (Pga(iterations=40), PgaNominal(iterations=40), RzfSplit())
    }
    assert (value["pga"] > value["rzf-split"]).all()
    assert value["pga"].mean() > value["pga-nominal"].mean() + 0.01
    assert value["pga-nominal"].mean() > value["rzf-split"].mean()


@pytest.mark.slow
def test_solve__more_iterations_reach_higher():
    problem = make()
    instance = draw(problem, 8)
    means = []
    for count in (20, 60, 150):
        decision = Pga(iterations=count).solve(problem, instance).decision
        means.append(float(problem.evaluate(instance, decision).objective.mean()))
    assert means[0] + 0.02 < means[1]
    assert means[1] + 0.002 < means[2]


def test_nominal__ignores_the_balls():
    problem = make("csi-20")
    instance = draw(problem)
    solver = PgaNominal(**QUICK)
    blind = instance.replace(radius=3 * instance.radius)
    ours, theirs = (solver.solve(problem, i).decision for i in (instance, blind))
    assert torch.equal(ours.beam, theirs.beam)
    robust = Pga(**QUICK).solve(problem, instance).decision
    assert not torch.allclose(ours.beam, robust.beam, rtol=1e-2)


def test_solve__seeds_repeat_and_differ():
    problem = make()
    instance = draw(problem)
    solver = Pga(**QUICK)
    first, again, other = (
        solver.solve(problem, instance, seed=seed).decision for seed in (1, 1, 2)
    )
    assert torch.equal(first.beam, again.beam)
    assert torch.equal(first.sensing, again.sensing)
    assert not torch.equal(first.beam, other.beam)


def test_solve__lanes_do_not_see_their_neighbours():
    problem = make()
    instance = draw(problem, 5)
    solver = Pga(**QUICK)
    whole = solver.solve(problem, instance).decision
    order = torch.tensor([3, 0, 4, 1, 2])
    permuted = solver.solve(problem, instance[order]).decision
    torch.testing.assert_close(permuted.beam, whole.beam[order], rtol=0, atol=1e-9)
    silent = solver.solve(problem, instance.replace(channel=instance.channel.clone())).decision
    assert torch.equal(silent.beam, whole.beam)
    spoiled = type(instance).cat(
        [
            instance[:1],
            problem.anchored(
                instance[1:].replace(
                    channel=1e3 * instance.channel[1:], radius=1e3 * instance.radius[1:]
                )
            ),
        ]
    )
    assert torch.equal(solver.solve(problem, spoiled).decision.beam[0], whole.beam[0])


def test_solve__starts_where_it_is_told():
    problem = make()
    instance = draw(problem)
    good = Pga(iterations=40).solve(problem, instance).decision
    solver = Pga(iterations=1)
    solution = solver.solve(problem, instance, start=good)
    torch.testing.assert_close(solution.decision.beam, good.beam, rtol=1e-12, atol=1e-12)
    loud = decide(problem, instance).map(lambda t: 5 * t)
    decision = solver.solve(problem, instance, start=loud).decision
    assert (power_of(decision) <= instance.max_power_w * (1 + 1e-12)).all()


def test_warm_start__mixes_as_the_preference_says():
    problem = make()
    instance = draw(problem, 6)
    start = warm_start(problem, instance, seed=0)
    share = start.sensing.abs().square().sum((1, 2, 3)) / power_of(start).sum(-1)
    torch.testing.assert_close(share, 1 - instance.preference, rtol=0, atol=0.02)
    assert (start.sensing.abs().sum(2) > 0).all()  # no column starts at zero


def test_solve__status_says_whether_it_settled():
    problem = make()
    instance = draw(problem)
    short = Pga(iterations=12).solve(problem, instance)
    assert (short.status == int(Status.BUDGET_SPENT)).all()
    easy = Pga(iterations=12, tolerance=10.0).solve(problem, instance)
    assert (easy.status == int(Status.CONVERGED)).all()
    one = Pga(tolerance=10.0).solve(problem, instance, budget=Budget(iterations=1))
    assert (one.status == int(Status.BUDGET_SPENT)).all()
    assert (one.iterations == 1).all()


def test_solve__passes_the_front_door():
    problem = make("small")
    instance = draw(problem)
    solution = solve(problem, instance, Pga(iterations=5))
    problem.validate(instance, solution.decision)
    assert solution.seconds > 0


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("scalarisation", "sum"),
        ("iterations", 0),
        ("rate", 0.0),
        ("rate", float("inf")),
        ("smoothing", -1.0),
        ("robustness", -0.1),
        ("tolerance", float("nan")),
    ],
)
def test_pga__refuses(field, value):
    with pytest.raises(ScenarioError, match=f"{field} must be"):
        Pga(**{field: value})
