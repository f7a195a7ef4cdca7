import dataclasses

import pytest
import torch

import baselines
from baselines import front
from baselines.front import certificate
from baselines.power_control.closed_form import FullPower
from baselines.power_control.distributed import Distributed
from baselines.power_control.exact import Exact
from isac_gym.core import (
    Budget,
    InfeasibleError,
    ScenarioError,
    ShapeError,
    Solution,
    Solver,
    SolverError,
    Status,
    Streams,
    family,
)
from isac_gym.core.solution import Certificate, status_tensor
from isac_gym.problems.power_control.model import PowerControlDecision
from tests.baselines.cases import draw, infeasible, problem

NO_LIMIT = Budget()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fixed(Solver):
    """Returns given powers, whatever the instance."""

    name = "fixed"
    power: object = None
    certificate: object = None

    def solve(self, problem, instance, *, budget=NO_LIMIT, seed=0, start=None):
        status = status_tensor(Status.CONVERGED, instance.batch_size)
        rows = self.power[: instance.batch_size]
        bound = self.certificate
        if bound is not None:
            bound = dataclasses.replace(bound, bound=bound.bound[: instance.batch_size])
        decision = rows if not isinstance(rows, torch.Tensor) else PowerControlDecision(rows)
        return Solution(decision=decision, status=status, iterations=0 * status, certificate=bound)


def test_solve__gives_decision_status_time_and_certificate():
    setup, instance = draw(4)
    solution = baselines.solve(setup, instance, "exact")
    assert solution.has_converged.all()
    assert solution.seconds > 0
    assert solution.certificate.kind == "exact"
    torch.testing.assert_close(
        setup.evaluate(instance, solution.decision).objective, solution.certificate.bound
    )


def test_solve__takes_a_name_or_a_solver():
    setup, instance = draw(4)
    named = baselines.solve(setup, instance, "full-power-projected")
    made = baselines.make_solver("power-control", "full-power-projected")
    assert torch.equal(named.decision.power, baselines.solve(setup, instance, made).decision.power)


def test_solve__projects_unless_the_solver_is_raw():
    setup, instance = draw(32)
    ones = torch.ones(32, 3, dtype=torch.float64)
    projected = baselines.solve(setup, instance, Fixed(power=ones)).decision
    raw = baselines.solve(setup, instance, FullPower()).decision
    assert setup.evaluate(instance, projected).is_feasible.all()
    assert not setup.evaluate(instance, raw).is_feasible.all()
    assert torch.equal(raw.power, ones)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_solve__marks_a_non_finite_lane_failed_and_makes_it_safe(bad):
    setup, instance = draw(4)
    power = torch.full((4, 3), 0.5, dtype=torch.float64)
    power[2, 1] = bad
    solution = baselines.solve(setup, instance, Fixed(power=power))
    assert solution.status.tolist() == [0, 0, int(Status.FAILED), 0]
    assert setup.evaluate(instance, solution.decision).is_feasible.all()
    assert torch.equal(solution.decision.power[2], setup.floor(instance).power[2])


def test_solve__refutes_a_certificate_that_is_too_low():
    setup, instance = draw(4)
    best = baselines.solve(setup, instance, "exact")
    low = best.certificate.bound.clone()
    low[1] -= 1e-6
    claim = Certificate(bound=low, kind="exact", source="wrong on purpose in lane 1")
    solver = Fixed(power=best.decision.power, certificate=claim)
    assert baselines.solve(setup, instance, solver).status.tolist() == [0, 3, 0, 0]
    with pytest.raises(SolverError, match=r"fixed: failed in lane\(s\) 1\."):
        baselines.solve(setup, instance, solver, throw=True)


def test_solve__infeasible_lane_gets_status_and_the_max_margin_point():
    setup, instance = draw(4)
    mixed = type(instance).cat([instance[:2], infeasible(setup, instance)[2:]])
    solution = baselines.solve(setup, mixed, "exact")
    assert solution.status.tolist() == [0, 0, 2, 2]
    margin = baselines.solve(setup, mixed, "max-comm-margin")
    torch.testing.assert_close(solution.decision.power[2:], margin.decision.power[2:])
    with pytest.raises(InfeasibleError, match=r"exact: no feasible decision in lane\(s\) 2, 3"):
        baselines.solve(setup, mixed, "exact", throw=True)


def test_solve__throw_names_at_most_eight_lanes_that_spent_their_budget():
    setup, instance = draw(12)
    solver, budget = Distributed(), Budget(iterations=2)
    assert (baselines.solve(setup, instance, solver, budget=budget).status == 1).all()
    with pytest.raises(SolverError, match=r"0, 1, 2, 3, 4, 5, 6, 7 and 4 more after up to 2"):
        baselines.solve(setup, instance, solver, budget=budget, throw=True)


def test_solve__throw_is_silent_on_success():
    setup, instance = draw(4)
    assert baselines.solve(setup, instance, "exact", throw=True).has_converged.all()


@pytest.mark.parametrize("seed", [-1, 1.5, True])
def test_solve__refuses_a_bad_seed(seed):
    setup, instance = draw(4)
    with pytest.raises(ScenarioError, match="seed must be an integer >= 0"):
        baselines.solve(setup, instance, "exact", seed=seed)


def test_solve__refuses_records_of_wrong_type_shape_and_value():
    setup, instance = draw(4)
    with pytest.raises(ShapeError, match="expected a PowerControlInstance"):
        baselines.solve(setup, setup.floor(instance), "exact")
    with pytest.raises(ShapeError, match="I=7"):
        baselines.solve(problem("dense-7"), instance, "exact")
    bad = instance.replace(bs_noise_w=instance.bs_noise_w * torch.nan)
    with pytest.raises(ShapeError, match="bs_noise_w: non-finite value in row 0"):
        baselines.solve(setup, bad, "exact")
    with pytest.raises(ShapeError, match="batch size must be >= 1, got 0"):
        baselines.solve(setup, instance[:0], "exact")


def test_solve__refuses_a_bad_start():
    setup, instance = draw(4)
    with pytest.raises(ShapeError, match="B=4"):
        baselines.solve(setup, instance, "sca", start=setup.floor(instance)[:2])
    high = PowerControlDecision(2 * setup.floor(instance).power)
    with pytest.raises(ShapeError, match=r"must be in \[0, 1\]"):
        baselines.solve(setup, instance, "sca", start=high)


@pytest.mark.parametrize(
    ("power", "message"),
    [
        (torch.ones(4, 2, dtype=torch.float64), "malformed decision.*I=3"),
        ("nothing", "returned a str, expected a PowerControlDecision"),
    ],
)
def test_solve__a_malformed_decision_is_a_solver_error(power, message):
    setup, instance = draw(4)
    with pytest.raises(SolverError, match=message):
        baselines.solve(setup, instance, Fixed(power=power))


def test_solve__gives_detached_decisions_and_leaves_gradient_mode_on():
    setup, instance = draw(4)
    solution = baselines.solve(setup, instance, "adam-softmin", budget=Budget(iterations=3))
    assert not solution.decision.power.requires_grad
    assert torch.is_grad_enabled()


def test_solve__works_in_float32():
    setup, instance = draw(16)
    low = baselines.solve(setup, instance.to(dtype=torch.float32), "exact", throw=True)
    high = baselines.solve(setup, instance, "exact")
    assert low.decision.power.dtype == torch.float32
    difference = low.certificate.bound.double() - high.certificate.bound
    assert difference.abs().max() < 1e-4


def test_certificate__is_the_first_that_bounds_the_objective():
    setup, instance = draw(4)
    assert front.certificate(setup, instance).kind == "exact"
    assert front.certificate(*draw(4, preset="peb3d")).kind == "dual"
    assert front.certificate(*draw(4, preset="peb2d")) is None
    assert front.certificate(*draw(4, preset="peb2d", num_bs=2)).kind == "dual"


def test_exact__claims_no_certificate_for_another_objective():
    setup, instance = draw(4, preset="peb3d")
    solution = baselines.solve(setup, instance, Exact())
    assert solution.certificate is None
    assert solution.has_converged.all()


def test_certificate__asks_slow_solvers_only_when_told_to():
    setup = family("subcarrier_selection").make_problem("tiny-8")
    instance = setup.sample(Streams.from_seed(0, 2))
    assert certificate(setup, instance) is None
    found = certificate(setup, instance, slow=True)
    assert found.kind == "enumeration"
    assert (found.bound > setup.metrics(instance, setup.floor(instance)).objective).all()
