"""Searches against plain loops over the problem's own errors, and enumeration against both."""

from itertools import combinations

import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection.chance import Annealing, Genetic
from baselines.subcarrier_selection.exhaustive import all_errors, all_masks, best_of_all
from baselines.subcarrier_selection.greedy import GreedyBackward, GreedyForward
from baselines.subcarrier_selection.lapack import positive_solve
from baselines.subcarrier_selection.scoring import GUARD, Scorer, random_masks
from baselines.subcarrier_selection.swap import BestKnown, GreedySwap
from isac_gym.core.errors import ScenarioError, SolverError
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget
from isac_gym.physics import probe_tables
from isac_gym.problems.subcarrier_selection.model import SubcarrierDecision, SubcarrierSelection
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario

SEARCHES = [
    "best-random",
    "greedy-forward",
    "greedy-backward",
    "swap",
    "annealing",
    "genetic",
    "best-known",
]


def case(preset="tiny-8", batch=3, **changes):
    """A problem, rooms, and what a solver may see of them."""
    problem = SubcarrierSelection(scenario=SubcarrierScenario.preset(preset, **changes))
    instance = problem.sample(Streams.from_seed(7, batch))
    return problem, instance, problem.known(instance)


def error_of(problem, known, mask):
    """Mean error of masks (B, S), (B,)."""
    return problem.mask_errors(known, mask[:, None]).mean(-1)[:, 0]


def plain_greedy(problem, known, *, adds):
    """One lane at a time, one candidate at a time; the best mask of allowed size on the way."""
    s, chosen = problem.scenario, []
    for lane in range(known.batch_size):
        one = known[lane : lane + 1]
        mask = torch.full((1, s.num_tones), not adds)
        best, lowest = mask, float("inf")
        steps = s.max_tones if adds else s.num_tones - s.min_tones
        for _ in range(steps):
            found = []
            for tone in range(s.num_tones):
                if bool(mask[0, tone]) != adds:
                    after = mask.clone()
                    after[0, tone] = adds
                    found.append((float(error_of(problem, one, after)), tone))
            error, tone = min(found)
            mask = mask.clone()
            mask[0, tone] = adds
            if s.min_tones <= int(mask.sum()) <= s.max_tones and error < lowest:
                best, lowest = mask, error
        chosen.append(best)
    return torch.cat(chosen)


@pytest.mark.parametrize("adds", [True, False], ids=["forward", "backward"])
@pytest.mark.parametrize("evaluator", ["kernel_ridge", "soft_neighbours", "convex_probe"])
def test_greedy__is_the_plain_loop(adds, evaluator):
    problem, instance, known = case(evaluator=evaluator)
    solver = GreedyForward() if adds else GreedyBackward()
    solution = solver.solve(problem, instance)
    assert torch.equal(solution.decision.mask, plain_greedy(problem, known, adds=adds))
    assert solution.has_converged.all()


@pytest.mark.slow
def test_greedy__is_the_plain_loop_at_sixteen_tones():
    problem, instance, known = case("small-16", 4)
    solution = GreedyForward().solve(problem, instance)
    assert torch.equal(solution.decision.mask, plain_greedy(problem, known, adds=True))


def test_greedy__trace_is_the_validation_objective():
    problem, instance, known = case()
    trace = GreedyForward().solve(problem, instance).trace
    assert trace is not None
    first = all_masks(8, 1, 1).expand(3, -1, -1)
    best = problem.mask_errors(known, first).mean(-1).amin(-1)
    torch.testing.assert_close(trace.objective[:, 0], 1 - best, rtol=0, atol=1e-5)


def test_swap__no_single_change_is_better():
    problem, instance, known = case(batch=4)
    s = problem.scenario
    mask = GreedySwap().solve(problem, instance).decision.mask
    error = error_of(problem, known, mask)
    for out in (None, *range(8)):
        for into in (None, *range(8)):
            after = mask.clone()
            if out is not None:
                after[:, out] = False
            if into is not None:
                after[:, into] = True
            count, differs = after.sum(-1), (after != mask).sum(-1)
            is_change = (count >= s.min_tones) & (count <= s.max_tones)
            is_change &= (differs == 1) | ((differs == 2) & (count == mask.sum(-1)))
            assert (error_of(problem, known, after) >= error - 1e-12)[is_change].all()


def test_swap__starts_where_told():
    problem, instance, known = case()
    start = SubcarrierDecision(all_masks(8, 4, 4)[:3])
    before = error_of(problem, known, start.mask)
    after = GreedySwap().solve(problem, instance, start=start, budget=Budget(iterations=1))
    assert (error_of(problem, known, after.decision.mask) <= before).all()
    assert (after.iterations == 1).all()


@pytest.mark.parametrize("name", SEARCHES)
def test_search__keeps_the_size_and_beats_the_floor(name):
    problem, instance, known = case()
    s = problem.scenario
    mask = make_solver("subcarrier_selection", name).solve(problem, instance).decision.mask
    count = mask.sum(-1)
    assert ((count >= s.min_tones) & (count <= s.max_tones)).all()
    floor = error_of(problem, known, problem.floor(instance).mask)
    assert (error_of(problem, known, mask) <= floor + 1e-12).all()


@pytest.mark.parametrize("name", [*SEARCHES, "exhaustive-val"])
def test_search__never_looks_at_the_scored_windows(name):
    problem, instance, _ = case()
    noise = Streams.from_seed(99, 3)
    other = instance.replace(
        score=noise.normal("x", *instance.score.shape[1:]),
        score_label=noise.normal("y", *instance.score_label.shape[1:]),
    )
    solver = make_solver("subcarrier_selection", name)
    mine, theirs = (solver.solve(problem, i).decision.mask for i in (instance, other))
    assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", ["best-known", "annealing", "genetic"])
def test_search__finds_the_optimum_of_eight_tones(name):
    problem, instance, known = case(batch=4)
    mask = make_solver("subcarrier_selection", name).solve(problem, instance).decision.mask
    _, least = best_of_all(problem, known)
    torch.testing.assert_close(error_of(problem, known, mask), least, rtol=0, atol=1e-12)


def test_exhaustive__is_brute_force_over_combinations():
    problem, instance, known = case(batch=2)
    s = problem.scenario
    for label, scored in (("exhaustive", instance), ("exhaustive-val", known)):
        best = torch.full((2,), float("inf"), dtype=torch.float64)
        for size in range(s.min_tones, s.max_tones + 1):
            for chosen in combinations(range(s.num_tones), size):
                mask = torch.zeros(2, s.num_tones, dtype=torch.bool)
                mask[:, list(chosen)] = True
                best = torch.minimum(best, error_of(problem, scored, mask))
        solution = make_solver("subcarrier_selection", label).solve(problem, instance)
        found = error_of(problem, scored, solution.decision.mask)
        torch.testing.assert_close(found, best, rtol=1e-12, atol=1e-12)
        if label == "exhaustive":
            assert solution.certificate is not None
            assert solution.certificate.kind == "enumeration"
            torch.testing.assert_close(solution.certificate.bound, 1 - best, rtol=1e-12, atol=0)


def test_exhaustive__refuses_many_tones():
    problem, instance, _ = case("tiny-8", batch=1, tones_per_link=11)
    for name in ("exhaustive", "exhaustive-val"):
        with pytest.raises(ScenarioError, match=r"<= 20, got 22"):
            make_solver("subcarrier_selection", name).solve(problem, instance)


def test_exhaustive__says_when_single_precision_is_too_coarse(monkeypatch):
    problem, instance, _ = case(batch=1)
    monkeypatch.setattr("baselines.subcarrier_selection.exhaustive.GUARD", 0.0)
    with pytest.raises(SolverError, match="single precision"):
        best_of_all(problem, instance)


def test_all_errors__are_the_problems():
    problem, _, known = case(batch=2)
    mask, errors = all_errors(problem, known)
    wanted = problem.mask_errors(known, mask.expand(2, -1, -1))
    torch.testing.assert_close(errors, wanted, rtol=0, atol=GUARD / 4)
    assert len(mask) == sum(
        len(list(combinations(range(8), size)))
        for size in range(problem.scenario.min_tones, problem.scenario.max_tones + 1)
    )
    assert len(mask.unique(dim=0)) == len(mask)


def test_search__repeats_in_double_where_single_is_too_coarse(monkeypatch):
    problem, instance, _ = case()
    wanted = GreedyForward().solve(problem, instance).decision.mask
    kinds, build = [], probe_tables.DifferenceTable.build

    def seen(*args, dtype, **rest):
        kinds.append(dtype)
        return build(*args, dtype=dtype, **rest)

    monkeypatch.setattr(probe_tables.DifferenceTable, "build", seen)
    monkeypatch.setattr("baselines.subcarrier_selection.searching.GUARD", 0.0)
    again = GreedyForward().solve(problem, instance).decision.mask
    assert kinds == [torch.float32, torch.float64]
    assert torch.equal(again, wanted)


def test_scorer__ties_and_rivals_are_decided_in_double():
    problem, _, known = case(batch=2)
    scorer = Scorer(problem, known)
    mask = all_masks(8, 3, 4).expand(2, -1, -1)
    exact = scorer.exact(mask)
    wrong = exact + 0.2 * GUARD * torch.linspace(1, -1, mask.shape[1])  # turns close orders round
    index, error = scorer.best(mask, wrong)
    assert torch.equal(index, exact.argmin(-1))
    torch.testing.assert_close(error, exact.amin(-1), rtol=1e-12, atol=0)
    assert (scorer.doubt > 0).all()


def test_random_masks__have_every_allowed_size_alike():
    uniform = Streams.from_seed(0, 1).uniform("u", 6000, 11)
    count = random_masks(uniform, 3, 5)[0].sum(-1)
    share = torch.bincount(count, minlength=6)[3:] / 6000
    assert (share - 1 / 3).abs().max() < 0.03
    assert random_masks(uniform, 3, 5)[0].double().mean(0).sub(0.4).abs().max() < 0.03


def test_annealing_and_genetic__more_effort_is_not_worse():
    problem, instance, known = case()
    for solver in (Annealing, Genetic):
        short = solver().solve(problem, instance, budget=Budget(iterations=1))
        long = solver().solve(problem, instance)
        assert not short.has_converged.any()
        few, many = (error_of(problem, known, x.decision.mask) for x in (short, long))
        assert (many <= few + 1e-12).all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Annealing(chains=0), "chains must be >= 1"),
        (lambda: Annealing(coldest=1.0), "coldest must be in"),
        (lambda: Genetic(mutation=2.0), "mutation must be in"),
        (lambda: BestKnown(starts=0), "starts must be >= 1"),
        (lambda: GreedySwap(passes=0), "passes must be >= 1"),
    ],
)
def test_search__refuses_senseless_settings(make, message):
    with pytest.raises(ScenarioError, match=message):
        make()


def test_positive_solve__is_that_of_torch(dtype):
    streams = Streams.from_seed(0, 2)
    half = streams.normal("k", 3, 6, 12, dtype=dtype)
    label = streams.normal("y", 6, 4, dtype=dtype)
    matrix = half @ half.mT
    matrix[1, 2] -= 100 * torch.eye(6, dtype=dtype)
    ours, theirs = positive_solve(matrix, label), probe_tables.positive_solve(matrix, label)
    tolerance = 1e-10 if dtype == torch.float64 else 1e-3
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, equal_nan=True)
    assert ours[1, 2].isnan().all()
