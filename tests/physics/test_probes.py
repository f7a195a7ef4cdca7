"""Probes against scikit-learn, loops and finite differences."""

import numpy as np
import pytest
import torch
from sklearn.kernel_ridge import KernelRidge

from isac_gym.core.errors import ShapeError
from isac_gym.core.random import Streams
from isac_gym.physics.probes import (
    kernel_ridge_predict,
    soft_neighbours_predict,
    task_errors,
)

_TRAIN, _HELD, _TONES, _FEATURES, _LABELS = 30, 20, 6, 3, 5
_PROBES = {"kernel ridge": kernel_ridge_predict, "soft neighbours": soft_neighbours_predict}


def samples(batch=2, rows=7, *, seed=0):
    """Training features and labels, held-out features, masks."""
    streams = Streams.from_seed(seed, batch)
    train = streams.normal("train", _TRAIN, _TONES, _FEATURES)
    label = streams.normal("label", _TRAIN, _LABELS)
    held = streams.normal("held", _HELD, _TONES, _FEATURES)
    mask = streams.uniform("mask", rows, _TONES) < 0.5
    mask[:, :, 0] = True
    return train, label, held, mask.to(train.dtype)


@pytest.mark.parametrize("rows", [7, 60])
def test_kernel_ridge__is_that_of_scikit_learn(rows):
    train, label, held, mask = samples(rows=rows)
    ours = kernel_ridge_predict(train, label, held, mask)
    for lane in range(2):
        for row in range(rows):
            chosen = mask[lane, row] > 0
            gamma = 0.3 / (_FEATURES * int(chosen.sum()))
            model = KernelRidge(alpha=0.2, kernel="rbf", gamma=gamma)
            model.fit(train[lane][:, chosen].flatten(1).numpy(), label[lane].numpy())
            theirs = model.predict(held[lane][:, chosen].flatten(1).numpy())
            assert np.abs(ours[lane, row].numpy() - theirs).max() < 1e-10


def test_soft_neighbours__are_a_loop_over_pairs():
    train, label, held, mask = samples(rows=2)
    ours = soft_neighbours_predict(train, label, held, mask, bandwidth=0.4)
    for lane in range(2):
        for row in range(2):
            chosen = np.flatnonzero(mask[lane, row].numpy())
            for sample in range(_HELD):
                gap = np.array(
                    [
                        sum(
                            ((train[lane, j, s] - held[lane, sample, s]).numpy() ** 2).sum()
                            for s in chosen
                        )
                        for j in range(_TRAIN)
                    ]
                )
                share = np.exp(-gap / (0.4 * _FEATURES * len(chosen)))
                wanted = share @ label[lane].numpy() / share.sum()
                assert np.abs(ours[lane, row, sample].numpy() - wanted).max() < 1e-12


@pytest.mark.parametrize("probe", _PROBES.values(), ids=_PROBES)
def test_probe__is_differentiable_in_the_weights(probe):
    train, label, held, _ = samples(batch=1)
    weight = 0.3 + Streams.from_seed(5, 1).uniform("weight", 2, _TONES)
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: probe(train, label, held, w), (weight,))


@pytest.mark.parametrize("probe", _PROBES.values(), ids=_PROBES)
@pytest.mark.parametrize("rows", [7, 60])
def test_probe__rows_and_lanes_do_not_know_each_other(probe, rows, monkeypatch):
    train, label, held, mask = samples(batch=3, rows=rows)
    whole = probe(train, label, held, mask)
    one = probe(train[1:2], label[1:2], held[1:2], mask[1:2])
    torch.testing.assert_close(one, whole[1:2], rtol=1e-12, atol=1e-12)
    few = probe(train, label, held, mask[:, 2:4])
    torch.testing.assert_close(few, whole[:, 2:4], rtol=1e-12, atol=1e-12)
    monkeypatch.setattr("isac_gym.physics.probes._NUMBERS_CPU", 1)
    torch.testing.assert_close(probe(train, label, held, mask), whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("probe", _PROBES.values(), ids=_PROBES)
def test_probe__is_total(probe):
    train, label, held, mask = samples()
    nothing = probe(train, label, held, torch.zeros_like(mask))
    assert nothing.isfinite().all()
    spread = nothing.amax(2) - nothing.amin(2)  # all samples are alike without tones
    assert spread.abs().max() < 1e-12
    shape = probe(*(x.to("meta") for x in (train, label, held, mask))).shape
    assert shape == (2, 7, _HELD, _LABELS)
    assert probe(train, label, held, mask[:, :0]).shape == (2, 0, _HELD, _LABELS)


def test_probe__a_scaled_mask_is_the_same_mask():
    train, label, held, mask = samples()
    once, thrice = (kernel_ridge_predict(train, label, held, k * mask) for k in (1, 3))
    torch.testing.assert_close(once, thrice, rtol=1e-12, atol=1e-12)


def test_probe__renamed_tones_give_the_same_predictions():
    train, label, held, mask = samples()
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    there = kernel_ridge_predict(train[:, :, order], label, held[:, :, order], mask[..., order])
    torch.testing.assert_close(
        there, kernel_ridge_predict(train, label, held, mask), rtol=1e-10, atol=1e-10
    )


def test_task_errors__mean_predictor_has_error_one():
    label = Streams.from_seed(0, 2).normal("label", _HELD, _LABELS)
    prediction = torch.stack([torch.zeros_like(label), label], 1)
    errors = task_errors(prediction, label)
    torch.testing.assert_close(errors[:, 0], torch.ones(2, 2, dtype=label.dtype))
    assert (errors[:, 1] == 0).all()


def test_task_errors__tasks_are_apart():
    label = Streams.from_seed(0, 1).normal("label", _HELD, _LABELS)
    prediction = label[:, None].clone()
    prediction[..., 3:] = 0
    errors = task_errors(prediction, label, num_location=3)
    assert errors[0, 0, 0] == 0
    assert errors[0, 0, 1] == 1


@pytest.mark.parametrize(
    ("name", "shape"),
    [("train_label", (2, 9, 5)), ("held", (2, 20, 5, 3)), ("weight", (2, 7, 5))],
)
def test_probe__names_what_does_not_fit(name, shape):
    train, label, held, mask = samples()
    given = {"train": train, "train_label": label, "held": held, "weight": mask}
    given[name] = torch.zeros(shape, dtype=train.dtype)
    with pytest.raises(ShapeError, match=name):
        kernel_ridge_predict(**given)


def test_probe__names_missing_axes():
    train, label, held, mask = samples()
    with pytest.raises(ShapeError, match="expected train"):
        kernel_ridge_predict(train, label, held, mask[0])
