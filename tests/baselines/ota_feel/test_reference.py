"""The reference: no method beats it by much, nothing beats its certificate."""

import pytest

from baselines.front import certificate, solve
from baselines.ota_feel.reference import Reference
from baselines.registry import solvers
from isac_gym.core import ScenarioError
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario
from tests.baselines.ota_feel.certificate_cases import challengers, drawn, excess


@pytest.mark.parametrize("changes", [{"sensing_weight": w} for w in (0.0, 0.5, 1.0)])
@pytest.mark.parametrize("pulse", ["none", "dft"])
def test_reference__is_the_best_known_and_below_its_bound(changes, pulse):
    problem, instance = drawn("small", 3, pulse=pulse, **changes)
    found = solve(problem, instance, Reference(iterations=100, starts=8))
    metrics = problem.evaluate(instance, found.decision)
    assert metrics.violation.max() <= 1e-9
    assert (metrics.objective <= found.certificate.bound).all()
    for decision in challengers(problem, instance).values():
        other = problem.evaluate(instance, problem.project(instance, decision)).objective
        assert (metrics.objective >= other - 0.1).all()  # dB


def test_reference__converges_where_the_bound_is_met():
    problem, instance = drawn("sensing", 3)
    assert solve(problem, instance, Reference(iterations=100)).has_converged.all()
    problem, instance = drawn("small", 3)
    assert not solve(problem, instance, Reference(iterations=20, starts=1)).has_converged.any()


@pytest.mark.slow
@pytest.mark.parametrize("preset", [p for p in OtaFeelScenario.presets if p != "literal"])
def test_certificate__exists_for_every_preset(preset):
    problem, instance = drawn(preset, 2)
    found = certificate(problem, instance)
    assert found is not None
    assert excess(problem, instance, found.bound).max() <= 0


def test_certificate__comes_from_one_solver_per_scenario():
    names = [name for name, kind in solvers("ota_feel").items() if kind.certifies]
    assert names == ["sensing-only", "relaxation", "reference"]
    problem, instance = drawn("sensing", 1)
    assert certificate(problem, instance).source.startswith("least bound")
    problem, instance = drawn("small", 1)
    assert certificate(problem, instance).source.startswith("relaxation")


@pytest.mark.parametrize("field", [{"iterations": 0}, {"starts": 0}, {"tolerance": 0.0}])
def test_reference__refuses_nonsense(field):
    with pytest.raises(ScenarioError, match=next(iter(field))):
        Reference(**field)
