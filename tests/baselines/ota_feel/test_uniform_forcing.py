import pytest
import torch

from baselines.ota_feel.uniform_forcing import best_subspace, inversion, inversion_load
from baselines.registry import make_solver
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.problems.ota_feel.model import power_of


def drawn(preset="coherent", batch=16):
    problem = family("ota_feel").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(0, batch))


@pytest.mark.parametrize("preset", ["coherent", "unequal", "small"])
def test_inversion__makes_the_streams_add_up_within_the_budgets(preset):
    _, instance = drawn(preset, 3)
    receiver, load = best_subspace(instance, 4, seed=1)
    precoder = inversion(instance, receiver)
    heard = receiver[:, None].mH @ instance.channel @ precoder
    scale = load.rsqrt()[:, None, None, None]
    wanted = scale * torch.diag_embed(instance.weight)
    torch.testing.assert_close(heard, wanted.to(heard.dtype))
    share = power_of(precoder) / instance.max_power_w
    torch.testing.assert_close(share.amax(-1), torch.ones_like(load), rtol=1e-9, atol=0)
    loads = inversion_load(instance, receiver)
    torch.testing.assert_close(share, loads / loads.amax(-1, keepdim=True))


def test_inversion_load__falls_with_the_square_of_the_receiver():
    _, instance = drawn(batch=2)
    receiver, _ = best_subspace(instance, 1, seed=0)
    torch.testing.assert_close(
        inversion_load(instance, 3 * receiver), inversion_load(instance, receiver) / 9
    )


def test_best_subspace__more_candidates_never_lose():
    _, instance = drawn()
    loads = [best_subspace(instance, count, seed=0)[1] for count in (1, 8, 64)]
    assert (loads[1] <= loads[0]).all()
    assert (loads[2] <= loads[1]).all()
    assert (loads[2] < loads[0]).any()


@pytest.mark.parametrize(
    ("preset", "median"), [("low-snr", 0.0620), ("coherent", 0.00696), ("high-snr", 0.00071)]
)
def test_uniform_forcing__medians_are_those_of_the_specification(preset, median):
    problem, instance = drawn(preset)
    solution = make_solver("ota_feel", "uniform-forcing").solve(problem, instance)
    found = problem.evaluate(instance, solution.decision)
    assert float(found.nmse.median()) == pytest.approx(median, rel=0.1)
    assert (found.violation <= 1e-12).all()


def test_uniform_forcing__the_mmse_receiver_is_no_worse_than_forcing():
    problem, instance = drawn()
    receiver, load = best_subspace(instance, 64, seed=0)
    solution = make_solver("ota_feel", "uniform-forcing").solve(problem, instance)
    mse = problem.evaluate(instance, solution.decision).mse
    forced = problem.scenario.noise_w * load * receiver.abs().square().sum((-2, -1))
    assert (mse < forced).all()
    assert (mse > 0.5 * forced).all()


def test_uniform_forcing__a_channel_without_rank_fails_alone():
    problem, instance = drawn(batch=3)
    solver = make_solver("ota_feel", "uniform-forcing", candidates=2)
    good = solver.solve(problem, instance)
    instance.channel[1, 4] = 0
    bad = solver.solve(problem, instance)
    converged, failed = int(Status.CONVERGED), int(Status.FAILED)
    assert bad.status.tolist() == [converged, failed, converged]
    assert torch.equal(bad.decision.precoder[[0, 2]], good.decision.precoder[[0, 2]])


def test_uniform_forcing__a_device_that_does_not_count_is_silent():
    problem, instance = drawn(batch=2)
    instance.weight[:, 3] = 0
    solution = make_solver("ota_feel", "uniform-forcing").solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).all()
    assert (solution.decision.precoder[:, 3] == 0).all()


def test_uniform_forcing__bad_fields_are_named():
    with pytest.raises(ScenarioError, match="candidates"):
        make_solver("ota_feel", "uniform-forcing", candidates=0)
