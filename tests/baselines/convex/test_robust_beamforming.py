import math

import pytest
import torch

from baselines import solve
from baselines.convex.robust_beamforming import BranchBound, network_of, recovered
from baselines.robust_beamforming.pga import Pga
from isac_gym.core import Budget, ScenarioError, Status
from tests.baselines.convex.robust_cases import draw, matched, random_decision

PAIR = {"num_bs": 2, "num_antennas": 2, "num_streams": 2, "target_box_m": 39.0}
QUICK = BranchBound(gap=0.03, climb=10)


def objective(setup, instance, decision):
    return setup.evaluate(instance, decision).objective


def test_branch_bound__certifies_and_is_never_beaten():
    setup, instance = draw(2, preference_spread=0.4, **PAIR)
    solution = solve(setup, instance, QUICK, throw=True)
    bound, found = solution.certificate.bound, objective(setup, instance, solution.decision)
    assert solution.certificate.kind == "dual"
    assert (found <= bound).all()
    assert (bound - found < 0.08).all()
    others = [random_decision(setup, instance), matched(setup, instance, share=0.9)]
    others.append(Pga(iterations=60).solve(setup, instance).decision)
    for other in others:
        assert (objective(setup, instance, other) <= bound + 1e-9).all()


def test_branch_bound__keeps_the_better_of_start_and_recovered_decision():
    setup, instance = draw(2, **PAIR)
    start = Pga(iterations=15).solve(setup, instance).decision
    solution = QUICK.solve(setup, instance, start=start)
    gain = objective(setup, instance, solution.decision) - objective(setup, instance, start)
    assert (gain >= -1e-9).all()
    assert (gain > 1e-3).any()
    assert (setup.evaluate(instance, solution.decision).violation <= 1e-9).all()


def test_branch_bound__stopped_early_is_a_bound_that_says_so():
    setup, instance = draw(**PAIR)
    full = QUICK.solve(setup, instance)
    early = BranchBound(gap=1e-6, climb=15).solve(setup, instance, budget=Budget(iterations=2))
    assert early.status.tolist() == [int(Status.BUDGET_SPENT)]
    assert early.iterations.tolist() == [2]
    assert (early.certificate.bound >= objective(setup, instance, full.decision)).all()


def test_branch_bound__lanes_do_not_matter_to_each_other():
    setup, instance = draw(2, **PAIR)
    both = QUICK.solve(setup, instance).certificate.bound
    alone = QUICK.solve(setup, instance[1:]).certificate.bound
    torch.testing.assert_close(both[1:], alone, rtol=0, atol=1e-6)


def test_branch_bound__takes_single_precision():
    setup, instance = draw(**PAIR)
    single = instance.to(dtype=torch.float32)
    solution = solve(setup, single, QUICK)
    assert solution.certificate.bound.dtype == torch.float32
    assert solution.decision.beam.dtype == torch.complex64
    assert solution.status.tolist() == [int(Status.CONVERGED)]


def test_recovered__keeps_power_and_signal_of_the_relaxation():
    setup, instance = draw(2)
    beam = torch.randn(3, 1, 3, 3, dtype=torch.complex128, generator=torch.manual_seed(0))
    sensing = torch.randn(3, 3, 1, dtype=torch.complex128, generator=torch.manual_seed(1))
    w, q = (beam @ beam.mH).numpy(), (sensing @ sensing.mH).numpy()
    row = recovered(instance, 1, w, q, torch.empty(1, 3, 3, 3, dtype=torch.complex128))
    torch.testing.assert_close(setup.covariance(row)[0], torch.from_numpy(w[:, 0] + q))
    h = torch.from_numpy(network_of(instance, 1).channel)
    for c in range(3):
        gain = (h[c, c, 0].conj() @ row.beam[0, c, 0]).abs().square()
        wanted = (h[c, c, 0].conj() @ torch.from_numpy(w[c, 0]) @ h[c, c, 0]).real
        torch.testing.assert_close(gain, wanted)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"num_users": 2}, "num_users = 1"), ({"delay": "unresolved", "num_targets": 2}, "resolved")],
)
def test_branch_bound__refuses_what_it_cannot_certify(changes, message):
    setup, instance = draw(**changes)
    with pytest.raises(ScenarioError, match=message):
        QUICK.solve(setup, instance)


@pytest.mark.parametrize(
    "field", [{"gap": 0.0}, {"seconds": math.inf}, {"programmes": 0}, {"climb": 0}]
)
def test_branch_bound__fields_are_checked(field):
    with pytest.raises(ScenarioError, match=next(iter(field))):
        BranchBound(**field)


def test_branch_bound__missing_package_names_the_extra(monkeypatch):
    setup, instance = draw(**PAIR)
    modules = __import__("sys").modules
    for name in ("robust_rates", "robust_sdp"):
        monkeypatch.delitem(modules, f"baselines.convex.{name}", raising=False)
        monkeypatch.delattr(f"baselines.convex.{name}", raising=False)
    monkeypatch.setitem(modules, "cvxpy", None)
    with pytest.raises(ModuleNotFoundError, match=r'pip install "isac_gym\[cvx\]"'):
        QUICK.solve(setup, instance)


@pytest.mark.slow
def test_branch_bound__closes_a_few_per_cent_at_the_papers_size():
    """Gaps of the utilities at p = 0.5 are twice those of the objective."""
    setup, instance = draw(2, preset="paper", seed=0)
    start = Pga(iterations=400).solve(setup, instance).decision
    solution = BranchBound().solve(setup, instance, start=start)
    gap = solution.certificate.bound - objective(setup, instance, solution.decision)
    assert (gap >= 0).all()
    assert (2 * gap < 0.06).all()
    assert (solution.status == int(Status.CONVERGED)).all()
