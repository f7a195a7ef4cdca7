"""Two-step imaging: variants against their parts, invariances, what they cost."""

from dataclasses import replace
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from baselines.front import solve
from baselines.multi_user_imaging import two_step
from baselines.multi_user_imaging.symbols import mrc_symbols, residual_and_gain, sliced
from baselines.multi_user_imaging.two_step import TwoStep, TwoStepLms, TwoStepLmsSliced, TwoStepMrc
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.core.solution import Budget, Status
from isac_gym.physics.graphs import hops
from isac_gym.problems.multi_user_imaging.design import ImagingDesign
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
)
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario
from tests.oracles.diffusion import user_loop

SOLVERS: list[type[TwoStep]] = [getattr(two_step, name) for name in two_step.__all__]


@pytest.fixture(scope="module")
def problem() -> ImagingRecovery:
    return ImagingRecovery(scenario=RecoveryScenario.preset("small").replace(num_samples=200))


@pytest.fixture(scope="module")
def instance(problem: ImagingRecovery) -> ImagingRecoveryInstance:
    return problem.sample(Streams.from_seed(0, 6))


def _images(problem: ImagingRecovery, instance: ImagingRecoveryInstance, solver: TwoStep) -> Tensor:
    found = solver.solve(problem, instance)
    return found.decision.estimate  # type: ignore[attr-defined]


@pytest.mark.parametrize("solver", SOLVERS, ids=lambda s: s.name)
def test_every_variant_gives_images(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance, solver: type[TwoStep]
) -> None:
    found = solve(problem, instance, solver())
    metrics = problem.evaluate(instance, cast(ImagingRecoveryDecision, found.decision))
    assert not (found.status == int(Status.FAILED)).any()
    assert (found.iterations == 200).all()
    assert metrics.violation.max() <= 1e-12
    is_silent = solver.cooperation == "none" and solver.symbols == "none"
    assert bool((metrics.scalars > 0).all()) is not is_silent


def test_names_are_unique() -> None:
    names = [solver.name for solver in SOLVERS]
    assert len(set(names)) == len(names)


def test_the_plain_scheme_is_two_loops_over_users(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    """With genie symbols both steps are one call of the loop each; tls, warm start."""
    solver = TwoStep(symbols="genie", is_warm=True, cooperation="none", first_l21=0.0, l21=0.0)
    found = _images(problem, instance, solver)
    s, lane = problem.scenario, 3
    scale = 1 + s.image_energy
    rate = torch.full((s.num_users,), 0.6 * scale / (s.num_voxels * s.max_power_w)).double()
    i, lit = instance, problem.probing(instance)
    whole = lit + i.symbol[..., None] * problem.data_illumination(i)[:, None]
    x: Any = torch.zeros_like(i.user_channel)[lane].numpy()
    for illumination, l1 in ((lit, 0.015), (whole, 0.005)):
        frame = (i.user_channel, illumination, i.received)
        arrays = [t[lane].numpy() for t in frame]
        penalty = l1 * s.max_power_w / scale
        x = user_loop(*[x, *arrays, rate.numpy(), None], tls=True, l1=penalty)
    assert abs(found[lane].numpy() - x).max() < 1e-6


def test_order_of_the_schemes() -> None:
    """Spec: no alignment is useless, alignment helps, decided symbols help most."""
    problem = ImagingRecovery(scenario=RecoveryScenario(num_samples=400))
    instance = problem.sample(Streams.from_seed(5, 8))

    def error(solver: TwoStep) -> float:
        decision = cast(ImagingRecoveryDecision, solve(problem, instance, solver).decision)
        return float(problem.evaluate(instance, decision).msd.mean().log10() * 10)

    literal, aligned, decided = (
        error(TwoStepLms(is_aligned=a, is_sliced=s))
        for a, s in ((False, False), (True, False), (True, True))
    )
    first = error(TwoStepLms(symbols="none"))
    assert decided < aligned < first < literal
    assert error(TwoStepLms(cooperation="none")) > decided + 3


def test_a_phase_of_the_symbols_and_beam_changes_nothing(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    turn = torch.polar(torch.tensor(1.0).double(), torch.tensor(0.9).double())
    turned = instance.replace(beam=instance.beam * turn, symbol=instance.symbol / turn)
    for solver in (TwoStep(), TwoStepLms()):
        first, second = (_images(problem, i, solver) for i in (instance, turned))
        torch.testing.assert_close(first, second, rtol=0, atol=1e-9)


def test_permuted_users_give_permuted_images(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    order, i = torch.tensor([2, 0, 3, 1]), instance
    permuted = i.replace(
        user_channel=i.user_channel[:, order],
        position=i.position[:, order],
        received=i.received[..., order],
        adjacency=i.adjacency[:, order][:, :, order],
    )
    for solver in (TwoStep(), TwoStepMrc(rounds=3)):
        wanted = _images(problem, i, solver)[:, order]
        torch.testing.assert_close(_images(problem, permuted, solver), wanted, rtol=0, atol=1e-9)


def test_consensus_of_many_rounds_decides_as_the_sum(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    i, solver = instance, TwoStepMrc(rounds=300)
    image = _images(problem, i, TwoStepLms(symbols="none"))
    lit, data = problem.probing(i), problem.data_illumination(i)
    exact = mrc_symbols(*residual_and_gain(image, i.user_channel, lit, data, i.received))
    found = solver.estimated_symbols(problem, i, image)
    assert torch.equal(found, sliced(exact))
    few = replace(solver, rounds=0).estimated_symbols(problem, i, image)
    wrong = [(c != sliced(i.symbol)[:, None]).double().mean() for c in (few, found)]
    assert wrong[0] > wrong[1]


def test_what_the_schemes_cost(problem: ImagingRecovery, instance: ImagingRecoveryInstance) -> None:
    links = instance.adjacency.sum((-2, -1))
    _, length, users = instance.received.shape
    voxels = instance.image.shape[-1]
    way = hops(instance.adjacency).sum(-1).amin(-1)

    def scalars(solver: TwoStep, **options: Any) -> Tensor:
        return solver.solve(problem, instance, **options).decision.scalars  # type: ignore[attr-defined]

    assert torch.equal(scalars(TwoStep(symbols="none")), links * voxels * length)
    assert torch.equal(scalars(TwoStep(symbols="none", exchange_every=3)), links * voxels * 66)
    symbols = way * (length + 1) + length * (users - 1)
    assert torch.equal(scalars(TwoStep(cooperation="none")), symbols)
    assert torch.equal(scalars(TwoStep()), 2 * links * voxels * length + symbols)
    mixed = TwoStepMrc(rounds=7, cooperation="none")
    assert torch.equal(scalars(mixed), links * 7 * (length + 1))
    central = way * length + voxels * (users - 1)
    assert torch.equal(scalars(TwoStep(cooperation="central")), central)
    short = scalars(TwoStep(symbols="none"), budget=Budget(iterations=10))
    assert torch.equal(short, links * voxels * 10)


def test_only_the_samples_within_the_budget_are_used(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    spoilt = instance.received.clone()
    spoilt[:, 50:] = torch.nan
    solver, budget = TwoStepLmsSliced(), Budget(iterations=50)
    first = solver.solve(problem, instance, budget=budget)
    second = solver.solve(problem, instance.replace(received=spoilt), budget=budget)
    assert torch.equal(first.decision.estimate, second.decision.estimate)  # type: ignore[attr-defined]
    assert (first.iterations == 50).all()


def test_status_says_whether_images_have_settled() -> None:
    problem = ImagingRecovery()
    instance = problem.sample(Streams.from_seed(0, 2))
    for solver, wanted in (
        (TwoStepLms(step=1e-3), Status.BUDGET_SPENT),
        (TwoStepLmsSliced(), Status.CONVERGED),
        (TwoStepLms(step=50.0), Status.FAILED),
    ):
        found = solve(problem, instance, solver)
        assert (found.status == int(wanted)).all()
        assert found.decision.estimate.isfinite().all()  # type: ignore[attr-defined]
    strict = solve(problem, instance, TwoStepLmsSliced(), budget=Budget(tolerance=1e-9))
    assert (strict.status == int(Status.BUDGET_SPENT)).all()


def test_only_the_genie_reads_the_truth(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    blind = instance.replace(
        image=torch.ones_like(instance.image), symbol=torch.ones_like(instance.symbol)
    )
    for solver in SOLVERS:
        is_same = torch.equal(
            _images(problem, instance, solver()), _images(problem, blind, solver())
        )
        assert is_same is ("genie" not in solver.name)


def test_a_start_is_where_step_1_starts(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance
) -> None:
    solver, budget = TwoStepLms(symbols="none", step=1e-9), Budget(iterations=2)
    floor = problem.floor(instance)
    start = replace(floor, estimate=torch.full_like(floor.estimate, 0.3))
    found = solver.solve(problem, instance, budget=budget, start=start)
    assert float((found.decision.estimate - 0.3).abs().max()) < 1e-6  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("estimator", "rls"),
        ("cooperation", "all"),
        ("symbols", "guess"),
        ("step", 0.0),
        ("gamma", float("inf")),
        ("l1", -1.0),
        ("tolerance", float("nan")),
        ("exchange_every", 0),
        ("rounds", -1),
    ],
)
def test_wrong_settings_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ScenarioError, match=field):
        TwoStep(**{field: value})


def test_other_problems_are_refused(instance: ImagingRecoveryInstance) -> None:
    with pytest.raises(ShapeError, match="needs an ImagingRecovery"):
        TwoStep().solve(ImagingDesign(), instance)


@pytest.mark.parametrize("solver", [TwoStep(), TwoStepMrc()], ids=lambda s: s.name)
def test_an_empty_batch_has_an_empty_solution(
    problem: ImagingRecovery, instance: ImagingRecoveryInstance, solver: TwoStep
) -> None:
    found = solver.solve(problem, instance[:0])
    estimate = cast(ImagingRecoveryDecision, found.decision).estimate
    assert estimate.shape == (0, *instance.user_channel.shape[1:])
    assert found.status.shape == found.iterations.shape == (0,)
