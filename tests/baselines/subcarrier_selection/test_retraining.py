import pytest
import torch

from baselines.subcarrier_selection.retraining import masknet_errors, retrain
from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.model import select_tones

ROOMS = 2


@pytest.fixture(scope="module")
def problem():
    return family("subcarrier_selection").make_problem("small-16")


@pytest.fixture(scope="module")
def instance(problem):
    return problem.sample(Streams.from_seed(40, ROOMS))


@pytest.fixture(scope="module")
def masks(problem):
    draw = torch.rand(ROOMS, 8, 16, generator=torch.Generator().manual_seed(0))
    return select_tones(draw, problem.scenario.min_tones, problem.scenario.max_tones)


def windows(instance):
    return instance.train, instance.train_label, instance.val, instance.val_label


def test_retrain__ranks_masks_as_kernel_ridge_does(problem, instance, masks):
    found = retrain(*windows(instance), masks, seeds=(0, 1))
    assert found.shape == (ROOMS, 8, 2, 2)
    known = problem.mask_errors(problem.known(instance), masks)
    for mine, other in zip(found.mean((2, 3)), known.mean(-1), strict=True):
        ranks = [row.argsort().argsort().double() for row in (mine, other)]
        assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.6
    apart = (found[:, :, 0] - found[:, :, 1]).abs()
    assert 0 < float(apart.mean()) < 0.1  # seeds differ, but not by much


def test_retrain__a_mask_is_the_same_alone(instance, masks):
    """Of whatever size: masks of another size beside it change nothing."""
    masks = torch.cat([masks[:, :5], torch.ones_like(masks[:, :1])], 1)
    assert len(masks[0].sum(-1).unique()) > 2
    whole = retrain(*windows(instance), masks, seeds=(3, 4), steps=15)
    for number in range(masks.shape[1]):
        mask = masks[:1, number : number + 1]
        alone = retrain(*windows(instance[:1]), mask, seeds=(4,), steps=15)
        torch.testing.assert_close(alone[0, 0, 0], whole[0, number, 1], rtol=1e-6, atol=0)


def test_retrain__learns_nothing_from_unused_tones_or_none(problem, instance):
    unused = problem.scenario.null.repeat(problem.scenario.num_links)
    masks = torch.stack([unused, torch.zeros_like(unused)])[None].repeat(ROOMS, 1, 1)
    assert unused.any()
    found = retrain(*windows(instance), masks, steps=100)
    assert (found[:, 0] > 0.9).all()
    assert ((found[:, 1] > 0.9) & (found[:, 1] < 1.2)).all()


def test_retrain__early_stopping_never_loses_on_its_own_windows(instance, masks):
    watched = (instance.val, instance.val_label)
    fields = {"seeds": (0,), "steps": 300, "weight_decay": 0.1}  # over-fits
    late = retrain(*windows(instance), masks, **fields)
    early = retrain(*windows(instance), masks, **fields, val=watched)
    assert (early <= late + 1e-5).all()
    assert float((late - early).mean()) > 0.02


def test_masknet__ranks_masks_as_kernel_ridge_does(problem, instance, masks):
    found = masknet_errors(*windows(instance), masks, least=6, most=8, seeds=(0, 1), steps=300)
    assert found.shape == (ROOMS, 8, 2, 2)
    known = problem.mask_errors(problem.known(instance), masks)
    for mine, other in zip(found.mean((2, 3)), known.mean(-1), strict=True):
        ranks = [row.argsort().argsort().double() for row in (mine, other)]
        assert float(torch.corrcoef(torch.stack(ranks))[0, 1]) > 0.5


def test_masknet__a_room_and_a_seed_are_the_same_alone(instance, masks):
    limits = {"least": 6, "most": 8, "steps": 15}
    whole = masknet_errors(*windows(instance), masks, seeds=(3, 4), **limits)
    some = instance[1:]
    alone = masknet_errors(*windows(some), masks[1:, 2:3], seeds=(4,), **limits)
    torch.testing.assert_close(alone[0, 0, 0], whole[1, 2, 1], rtol=1e-6, atol=0)


def test_retrain__refuses_what_it_cannot_use(instance, masks):
    with pytest.raises(ShapeError, match=r"mask: torch\.float32"):
        retrain(*windows(instance), masks.float())
    with pytest.raises(ShapeError, match=r"expected bool of shape \(2, Q, 16\)"):
        retrain(*windows(instance), masks[:, :, :5])
    with pytest.raises(ScenarioError, match="steps must be >= 1"):
        retrain(*windows(instance), masks, steps=0)
    with pytest.raises(ScenarioError, match="most must be in"):
        masknet_errors(*windows(instance), masks, least=8, most=6)
