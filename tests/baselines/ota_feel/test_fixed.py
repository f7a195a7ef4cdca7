import pytest
import torch

from baselines.registry import make_solver
from isac_gym.core.family import family
from isac_gym.core.random import Streams


def solved(name, preset="coherent", batch=16, seed=0):
    problem = family("ota_feel").make_problem(preset)
    instance = problem.sample(Streams.from_seed(0, batch))
    solution = make_solver("ota_feel", name).solve(problem, instance, seed=seed)
    return instance, solution.decision, problem.evaluate(instance, solution.decision)


@pytest.mark.parametrize("name", ["svd", "common-directions", "random", "beam-at-target"])
def test_fixed__spend_all_power(name):
    instance, _, found = solved(name)
    torch.testing.assert_close(found.power_w, instance.max_power_w, rtol=1e-9, atol=0)


@pytest.mark.parametrize(
    ("preset", "svd", "chance"),
    [("low-snr", 0.488, 0.515), ("coherent", 0.450, 0.458), ("high-snr", 0.446, 0.452)],
)
def test_fixed__medians_are_those_of_the_specification(preset, svd, chance):
    for name, median in (("svd", svd), ("random", chance)):
        _, _, found = solved(name, preset)
        assert float(found.nmse.median()) == pytest.approx(median, rel=0.1), name


def test_common_directions__add_up_in_phase():
    assert float(solved("common-directions")[2].nmse.median()) < 0.2


def test_svd__columns_are_orthogonal_and_strongest():
    instance, decision, _ = solved("svd", batch=2)
    heard = (instance.channel @ decision.precoder).abs().square().sum((-2, -1))
    best = torch.linalg.svdvals(instance.channel)[..., :2].square().sum(-1) / 2
    torch.testing.assert_close(heard, best * instance.max_power_w, rtol=1e-9, atol=0)


def test_beam_at_target__no_precoder_puts_more_light_on_it():
    problem = family("ota_feel").make_problem("joint")
    instance, decision, found = solved("beam-at-target", "joint")
    a, _ = problem.responses(instance)
    lit = (a[..., None, :] @ decision.precoder).abs().square().sum((-2, -1))
    most = a.abs().square().sum(-1) * instance.max_power_w
    torch.testing.assert_close(lit, most, rtol=1e-9, atol=0)
    assert float(found.crb_m2.median()) < float(solved("svd", "joint")[2].crb_m2.median())


def test_silent__is_worth_an_error_of_one_and_the_prior():
    _, _, found = solved("silent")
    torch.testing.assert_close(found.nmse, torch.ones_like(found.nmse))
    torch.testing.assert_close(found.crb_m2, torch.full_like(found.nmse, 3e4))


def test_random__depends_on_the_seed_alone():
    first, again, other = (solved("random", batch=2, seed=seed)[1] for seed in (3, 3, 4))
    assert torch.equal(first.precoder, again.precoder)
    assert not torch.equal(first.precoder, other.precoder)
    assert torch.equal(first.precoder[0], first.precoder[1])
