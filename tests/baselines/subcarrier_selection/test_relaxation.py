import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection.networks import Perceptrons
from baselines.subcarrier_selection.penalty import PenaltyMibo, penalty_slope
from baselines.subcarrier_selection.relaxation import (
    CountLimits,
    feasible_gap,
    integer_gap,
    replicas,
)
from baselines.subcarrier_selection.spg_mibo import Planes, SpgMibo, SpgMiboLiteral
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget, Status
from isac_gym.physics.learning import mlp
from isac_gym.problems.subcarrier_selection.model import select_tones

NAMES = (
    "spg-mibo",
    "spg-mibo-literal",
    "penalty-mibo",
    "localisation-only",
    "localisation-only-matched",
    "sensing-only",
    "concrete",
    "gumbel-topk",
)
ROOMS = 6


@pytest.fixture(scope="module")
def problem():
    return family("subcarrier_selection").make_problem("small-16")


@pytest.fixture(scope="module")
def instance(problem):
    return problem.sample(Streams.from_seed(0, ROOMS))


@pytest.fixture(scope="module")
def run(problem, instance):
    return replicas(problem, instance[:2], (0, 1), steps=4, size=64)


@pytest.mark.parametrize("name", NAMES)
def test_solve__a_lane_is_the_same_alone(problem, instance, name):
    solver = make_solver("subcarrier_selection", name, iterations=25)
    whole, alone = (solver.solve(problem, i, seed=3) for i in (instance, instance[4:5]))
    assert torch.equal(whole.decision.mask[4:5], alone.decision.mask)
    assert torch.equal(whole.trace.objective[4:5], alone.trace.objective)
    left, right = (solver.relaxed(problem, i, seeds=(3,)).gate for i in (instance, instance[4:5]))
    assert torch.equal(left[4:5], right)


@pytest.mark.parametrize("name", NAMES)
def test_relaxed__a_seed_is_the_same_alone_and_others_differ(problem, instance, name):
    solver = make_solver("subcarrier_selection", name, iterations=25)
    both = solver.relaxed(problem, instance[:3], seeds=range(9))  # one room at once
    one = solver.relaxed(problem, instance[:3], seeds=(5,))
    assert torch.equal(both.gate[:, 5], one.gate[:, 0])
    assert torch.equal(
        both.errors(instance[:3].val, instance[:3].val_label)[:, 5].nan_to_num(-1),
        one.errors(instance[:3].val, instance[:3].val_label)[:, 0].nan_to_num(-1),
    )
    assert not torch.equal(both.gate[:, 5], both.gate[:, 4])
    assert ((both.gate >= 0) & (both.gate <= 1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_solve__does_not_read_held_out_windows(problem, instance, name):
    solver = make_solver("subcarrier_selection", name, iterations=10)
    noise = Streams.from_seed(9, ROOMS).normal("noise", *instance.val.shape[1:])
    labels = Streams.from_seed(8, ROOMS).normal("noise", *instance.val_label.shape[1:])
    other = instance.replace(score=noise, score_label=labels, val=noise, val_label=labels)
    left, right = (solver.solve(problem, i) for i in (instance, other))
    assert torch.equal(left.decision.mask, right.decision.mask)
    assert torch.equal(left.trace.objective, right.trace.objective)


@pytest.mark.parametrize("name", NAMES)
def test_solve__decides_by_projection_and_counts_gradients(problem, instance, name):
    solver = make_solver("subcarrier_selection", name, iterations=40)
    found = solver.relaxed(problem, instance, seeds=(0,))
    solution = solver.solve(problem, instance, seed=0)
    s = problem.scenario
    assert torch.equal(
        solution.decision.mask, select_tones(found.gate[:, 0], s.min_tones, s.max_tones)
    )
    assert found.loss.shape == (ROOMS, 1, 40, 2)
    assert (solution.iterations == 40).all()
    per_task = found.gradients[-1].tolist()
    expected = {
        "spg-mibo": [122, 40],  # L = 3 and two refreshments of the planes
        "spg-mibo-literal": [122, 40],
        "penalty-mibo": [122, 40],
        "localisation-only": [40, 0],
        "localisation-only-matched": [120, 0],
        "sensing-only": [0, 40],
    }.get(name, [40, 40])
    assert per_task == expected
    for task in (0, 1):
        is_trained = found.networks[task] is not None
        assert is_trained == (expected[task] > 0)
        assert bool(found.loss[..., task].isnan().all()) != is_trained


@pytest.mark.parametrize("name", NAMES)
def test_solve__the_training_loss_falls(problem, instance, name):
    solution = make_solver("subcarrier_selection", name, iterations=120).solve(problem, instance)
    history = solution.trace.objective
    assert (history[:, -20:].mean(-1) > history[:, :4].mean(-1) + 0.1).all()


def test_solve__one_iteration_of_budget_is_kept(problem, instance):
    solution = SpgMibo().solve(problem, instance, budget=Budget(iterations=1))
    assert (solution.iterations == 1).all()
    assert (solution.status == int(Status.BUDGET_SPENT)).all()


def test_solve__a_start_draws_the_gate_to_it(problem, instance):
    start = problem.floor(instance)
    solution = SpgMibo().solve(problem, instance, budget=Budget(iterations=1), start=start)
    assert torch.equal(solution.decision.mask, start.mask)


def test_spg_mibo__ends_at_integers_and_beats_random_masks(problem, instance):
    s, solver = problem.scenario, SpgMibo(penalty=0.1)
    found = solver.relaxed(problem, instance, seeds=(0, 1))
    assert float(feasible_gap(found.gate, s.min_tones, s.max_tones).mean()) < 0.02
    masks = select_tones(found.gate, s.min_tones, s.max_tones)
    draw = torch.rand(ROOMS, 64, s.num_tones, generator=torch.Generator().manual_seed(0))
    chance = problem.mask_errors(instance, select_tones(draw, s.min_tones, s.max_tones))
    mine = problem.mask_errors(instance, masks)
    assert float(mine.mean()) < float(chance.mean()) - 0.03
    assert ((chance.mean(-1) - mine.mean((1, 2))[:, None]).mean(1) > 0).all()  # in every room


def test_spg_mibo__without_penalty_stays_fractional(problem, instance):
    some = instance[:2]
    gaps = [
        float(integer_gap(SpgMibo(penalty=p, weight_decay=0.3).relaxed(problem, some).gate).mean())
        for p in (0.0, 0.1)
    ]
    assert gaps[0] > 2 * gaps[1]


def test_spg_mibo__literal_hardly_trains_localisation(problem, instance):
    """The specification found .512 instead of .418 on held-out windows."""
    found = [
        kind(iterations=200).relaxed(problem, instance[:2], seeds=(0,))
        for kind in (SpgMibo, SpgMiboLiteral)
    ]
    place = [float(f.loss[:, 0, -20:, 0].mean()) for f in found]
    assert place[1] > place[0] + 0.1
    state = [float(f.loss[:, 0, -20:, 1].mean()) for f in found]
    assert state[1] == pytest.approx(state[0], abs=0.1)


@pytest.mark.parametrize(
    "fields",
    [{"has_joint_slope": True}, {"has_exact_count": True}, {"penalty_kind": "squared"}],
)
def test_spg_mibo__variants_decide_otherwise(problem, instance, fields):
    plain = SpgMibo(iterations=60).relaxed(problem, instance, seeds=(0,)).gate
    other = SpgMibo(iterations=60, **fields).relaxed(problem, instance, seeds=(0,)).gate
    assert other.isfinite().all()
    if "has_exact_count" in fields:
        total = other.sum(-1)
        low, high = problem.scenario.min_tones, problem.scenario.max_tones
        assert ((total >= low - 1e-4) & (total <= high + 1e-4)).all()
    else:
        assert not torch.equal(plain, other)


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("spg-mibo", {"iterations": 0}, "iterations must be >= 1"),
        ("spg-mibo", {"batch_size": 0}, "batch_size must be >= 1"),
        ("spg-mibo", {"inner_steps": 0}, "inner_steps must be >= 1"),
        ("spg-mibo", {"max_cuts": 0}, "max_cuts must be >= 1"),
        ("spg-mibo", {"cut_every": 0}, "cut_every must be >= 1"),
        ("spg-mibo", {"cut_slack": -1.0}, "cut_slack must be finite and >= 0"),
        ("spg-mibo", {"penalty": float("nan")}, "penalty must be finite and >= 0"),
        ("spg-mibo", {"penalty_kind": "l0"}, "penalty_kind must be one of"),
        ("spg-mibo", {"hidden": ()}, "hidden must be widths >= 1"),
        ("spg-mibo", {"hidden": (64, 0)}, "hidden must be widths >= 1"),
        ("spg-mibo", {"tolerance": 0.0}, "tolerance must be > 0"),
        ("penalty-mibo", {"learning_rate": 0.0}, "learning_rate must be finite and > 0"),
        ("penalty-mibo", {"gate_rate": float("inf")}, "gate_rate must be finite and > 0"),
        ("penalty-mibo", {"dual_rate": -0.1}, "dual_rate must be finite and >= 0"),
        ("penalty-mibo", {"dual_cap": -0.1}, "dual_cap must be finite and >= 0"),
        ("penalty-mibo", {"weight_decay": -0.1}, "weight_decay must be finite and >= 0"),
        ("sensing-only", {"penalty": -1.0}, "penalty must be finite and >= 0"),
        ("localisation-only", {"repeats": 0}, "repeats must be >= 1"),
        ("concrete", {"last_temperature": 0.0}, "last_temperature must be finite and > 0"),
        ("gumbel-topk", {"tones": "all"}, "tones must be one of"),
    ],
)
def test_solver__refuses_bad_settings(name, fields, message):
    with pytest.raises(ScenarioError, match=message):
        make_solver("subcarrier_selection", name, **fields)


def test_lagrangian__gradients_are_those_of_differences(run):
    draw = torch.Generator().manual_seed(0)
    gate = torch.rand(3, 16, generator=draw, dtype=torch.float64)
    x = torch.randn(3, 9, 64, generator=draw, dtype=torch.float64)
    y = torch.randn(3, 9, 3, generator=draw, dtype=torch.float64)
    shape = mlp(64, 6, 3)
    start = 0.3 * torch.randn(3, shape.num_weights, generator=draw, dtype=torch.float64)
    phi, theta = (Perceptrons(shape, start) for _ in range(2))
    planes = Planes(gate, theta.weights, 4)
    planes.a.normal_(generator=draw)
    planes.b.normal_(generator=draw)
    planes.c.normal_(generator=draw)
    planes.multiplier.uniform_(generator=draw)
    counts = CountLimits(run._replace(gate=gate), rate=0.1, cap=10)
    counts.mu = torch.rand(3, 2, generator=draw, dtype=torch.float64)

    def value(w, weights):
        cuts = (planes.multiplier * planes.level(w, weights)).sum(-1)
        return phi.loss(x, y, w) + cuts + (counts.mu * counts.excess(w)).sum(-1)

    pull, turn = planes.slopes()
    slope = phi.gradient(x, y, gate)[1] + pull + counts.slope()
    for number, way in enumerate(torch.randn(4, 3, 16, generator=draw, dtype=torch.float64)):
        step = 1e-6 * way
        rate = (value(gate + step, theta.weights) - value(gate - step, theta.weights)) / 2e-6
        torch.testing.assert_close((slope * way).sum(-1), rate, rtol=1e-6, atol=1e-8)
        along = torch.zeros_like(theta.weights)
        along[:, number] = 1e-3
        rate = value(gate, theta.weights + along) - value(gate, theta.weights - along)
        torch.testing.assert_close(turn[:, number], rate / 2e-3, rtol=1e-8, atol=1e-8)


def test_planes__a_new_one_is_the_tangent_and_idle_ones_leave():
    draw = torch.Generator().manual_seed(1)
    gate, weights = (torch.rand(2, n, generator=draw, dtype=torch.float64) for n in (5, 7))
    planes = Planes(gate, weights, 2)
    excess = torch.tensor([0.3, -0.1], dtype=torch.float64)
    slopes = [torch.randn(2, n, generator=draw, dtype=torch.float64) for n in (5, 7)]
    planes.refresh(excess, *slopes, gate, weights)
    assert planes.is_used.tolist() == [[True, False], [False, False]]
    assert planes.multiplier[0].tolist() == [1e-3, 0]
    torch.testing.assert_close(planes.level(gate, weights)[0, 0], excess[0])
    moved = gate + 0.1
    expected = excess[0] + 0.1 * slopes[0][0].sum()
    torch.testing.assert_close(planes.level(moved, weights)[0, 0], expected)
    planes.ascend(gate, weights, rate=2.0, cap=0.5)
    assert planes.multiplier[0].tolist() == [0.5, 0]  # capped; an unused one stays 0
    for _ in range(2):  # full: the smaller multiplier goes
        planes.refresh(excess, *slopes, gate, weights)
    assert planes.multiplier[0].tolist() == [0.5, 1e-3]
    far = weights - 100 * slopes[1]
    planes.multiplier[:] = 0
    planes.refresh(-excess.abs(), *slopes, gate, far)
    assert not planes.is_used.any()


def test_count_limits__push_the_number_of_tones_inside(run):
    counts = CountLimits(run, rate=1.0, cap=5.0)
    full, empty = torch.ones(4, 16), torch.zeros(4, 16)
    counts.ascend(full)
    assert (counts.mu[:, 0] == 0).all()
    assert (counts.slope() > 0).all()  # descent lowers the gate
    for _ in range(50):
        counts.ascend(empty)
    assert (counts.slope() < 0).all()
    assert float(counts.mu.amax()) == 5.0


def test_penalty_slope__is_that_of_differences():
    w = torch.linspace(0, 1, 21, dtype=torch.float64)
    value = [((w + s) * (1 - w - s)).square() for s in (1e-6, -1e-6)]
    torch.testing.assert_close(penalty_slope(w), (value[0] - value[1]) / 2e-6, rtol=0, atol=1e-9)
    assert penalty_slope(torch.tensor([0.0, 0.5, 1.0])).tolist() == [0, 0, 0]


def test_penalty_mibo__a_weak_penalty_leaves_fractions_where_weights_hardly_decay(
    problem, instance
):
    some = instance[:2]
    gaps = [
        float(integer_gap(PenaltyMibo(**fields).relaxed(problem, some).gate).mean())
        for fields in (
            {"penalty": 0.03, "weight_decay": 0.3},
            {"penalty": 1.0, "weight_decay": 0.3},
            {"penalty": 0.03},
        )
    ]
    assert gaps[0] > 0.1 > max(gaps[1:])


def test_penalty_mibo__without_planes_is_sensing_alone(problem, instance):
    """The lower level reaches the gate through the planes only: two codes, one path."""
    bilevel = PenaltyMibo(iterations=40, cut_every=1000).relaxed(problem, instance)
    alone = make_solver("subcarrier_selection", "sensing-only", iterations=40)
    other = alone.relaxed(problem, instance)
    assert torch.equal(bilevel.gate, other.gate)
    assert torch.equal(bilevel.loss[..., 1], other.loss[..., 1])
    with_planes = PenaltyMibo(iterations=40).relaxed(problem, instance)
    assert not torch.equal(with_planes.gate, other.gate)


def test_gaps__of_known_weights():
    w = torch.tensor([[0.0, 1.0, 1.0, 1.0], [0.4, 0.6, 0.0, 1.0]])
    torch.testing.assert_close(integer_gap(w), torch.tensor([0.0, 0.2]))
    torch.testing.assert_close(feasible_gap(w, 1, 2), torch.tensor([0.25, 0.2]))
    assert float(integer_gap(torch.ones(4))) == 0
    assert float(feasible_gap(torch.ones(4), 1, 2)) == 0.5
