import math

import pytest
import torch

from baselines.robust_beamforming.objective import SCALARISATIONS, Utilities, scalarise, utilities
from isac_gym.core import ScenarioError
from isac_gym.problems.robust_beamforming.records import chebyshev
from tests.problems.robust_beamforming.helpers import decide, draw, make

P = torch.tensor([0.0, 0.2, 0.5, 0.9, 1.0], dtype=torch.float64)
FOUND = Utilities(
    torch.tensor([0.3, 0.1, 0.6, 0.2, 0.8], dtype=torch.float64),
    torch.tensor([0.9, 0.7, 0.4, 0.5, 0.0], dtype=torch.float64),
)


@pytest.mark.parametrize("preset", ["paper", "two-users", "unresolved", "csi-0"])
def test_utilities__are_those_of_the_scorer(preset):
    problem = make(preset)
    instance = draw(problem)
    decision = decide(problem, instance)
    exact = problem.evaluate(instance, decision)
    found = utilities(problem, instance, decision)
    torch.testing.assert_close(found.rate, exact.rate_utility, rtol=1e-12, atol=0)
    torch.testing.assert_close(found.sensing, exact.sensing_utility, rtol=1e-12, atol=0)
    rough = utilities(problem, instance, decision, steps=10)
    torch.testing.assert_close(rough.rate, exact.rate_utility, rtol=1e-4, atol=1e-6)
    assert (rough.rate >= exact.rate_utility - 1e-12).all()  # any error is no worse than the worst


def test_scalarise__chebyshev_is_the_scored_objective_up_to_smoothing():
    exact = chebyshev(P, *FOUND)
    for tau in (1e-1, 1e-2, 1e-4):
        smooth = scalarise("chebyshev", P, FOUND, smoothing=tau)
        assert (smooth <= exact + 1e-15).all()
        assert (smooth >= exact - tau * math.log(2) - 1e-15).all()


def test_scalarise__formulas():
    f1, f2 = FOUND
    weighted = scalarise("weighted-sum", P, FOUND, smoothing=1.0)
    torch.testing.assert_close(weighted, P * f1 + (1 - P) * f2)
    limited = scalarise("epsilon", P, FOUND, smoothing=1.0)
    missed = [max(1 - p - s, 0) for p, s in zip(P.tolist(), f2.tolist(), strict=True)]
    expected = [r - 20 * m for r, m in zip(f1.tolist(), missed, strict=True)]
    assert limited.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("kind", SCALARISATIONS)
def test_scalarise__rises_with_both_utilities(kind):
    base = scalarise(kind, P, FOUND, smoothing=0.01)
    for more in (
        FOUND._replace(rate=FOUND.rate + 0.05),
        FOUND._replace(sensing=FOUND.sensing + 0.05),
    ):
        assert (scalarise(kind, P, more, smoothing=0.01) >= base - 1e-15).all()


def test_scalarise__refuses_unknown_kinds():
    with pytest.raises(ScenarioError, match=r"scalarisation must be one of .*'sum'"):
        scalarise("sum", P, FOUND, smoothing=1.0)
