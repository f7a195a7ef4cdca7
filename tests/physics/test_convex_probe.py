import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.convex_probe import (
    convex_probe_errors,
    convex_probe_predict,
    convex_probe_slope,
    convex_probe_value,
    probe_basis,
    probe_task,
)
from isac_gym.physics.probes import task_errors

TALL, WIDE = (60, 5), (12, 5)  # windows and tones: fewer columns than windows, and more


def data(windows, tones, *, batch=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, windows, tones, 4, generator=draw, dtype=torch.float64)
    noise = torch.randn(batch, windows, 5, generator=draw, dtype=torch.float64)
    label = x[:, :, 0, :1] + (x[:, :, 1, 1:2]).square() + 0.5 * noise
    return x, label - label.mean(1, keepdim=True)


def weights(tones, *, batch=3, count=4, seed=1):
    draw = torch.Generator().manual_seed(seed)
    return torch.rand(batch, count, tones, generator=draw, dtype=torch.float64)


def ridge_objective(x, label, mask, ridge, degree):
    """One room and mask, with NumPy: least squares on stacked rows."""
    powers = np.concatenate([x**p for p in range(1, degree + 1)], axis=2)[:, mask]
    columns = powers.reshape(len(x), -1)
    columns = (columns - columns.mean(0)) / columns.std(0) / np.sqrt(len(x))
    errors = []
    for y in (label[:, :2], label[:, 2:]):
        wanted = y / np.linalg.norm(y)
        stacked = np.concatenate([columns, np.sqrt(ridge) * np.eye(columns.shape[1])])
        goal = np.concatenate([wanted, np.zeros((columns.shape[1], y.shape[1]))])
        v = np.linalg.lstsq(stacked, goal, rcond=None)[0]
        errors.append(np.square(goal - stacked @ v).sum())
    return np.array(errors)


@pytest.mark.parametrize("size", [TALL, WIDE], ids=["tall", "wide"])
@pytest.mark.parametrize("degree", [1, 2])
def test_errors__are_ridge_objectives_of_the_selected_tones(size, degree):
    x, label = data(*size)
    mask = weights(size[1]) > 0.4
    found = convex_probe_errors(x, label, mask.double(), ridge=0.3, degree=degree)
    for b in range(3):
        for q in range(4):
            wanted = ridge_objective(
                x[b].numpy(), label[b].numpy(), mask[b, q].numpy(), 0.3, degree
            )
            np.testing.assert_allclose(found[b, q].numpy(), wanted, rtol=1e-10)


@pytest.mark.parametrize("size", [TALL, WIDE], ids=["tall", "wide"])
def test_slope__equals_central_differences_and_autograd(size):
    x, label = data(*size)
    w = weights(size[1]) + 0.05
    value, slope = convex_probe_slope(probe_task(x, label), w)
    step = 1e-5
    for tone in range(size[1]):
        unit = step * torch.eye(size[1], dtype=torch.float64)[tone]
        ahead, behind = (convex_probe_errors(x, label, w + sign * unit) for sign in (1, -1))
        numeric = (ahead - behind) / (2 * step)
        torch.testing.assert_close(slope[..., tone], numeric, rtol=1e-6, atol=1e-9)
    w.requires_grad_()
    total = convex_probe_value(x, label, w)
    torch.testing.assert_close(total, value.mean(-1), rtol=1e-12, atol=0)
    (automatic,) = torch.autograd.grad(total.sum(), w)
    torch.testing.assert_close(automatic, slope.mean(2), rtol=1e-10, atol=1e-13)


def test_slope__is_exact_at_binary_masks_and_at_none():
    x, label = data(*TALL)
    w = (weights(5) > 0.5).double()
    w[:, 0] = 0
    w.requires_grad_()
    assert torch.autograd.gradcheck(lambda at: convex_probe_errors(x, label, at), (w,))


def test_value__no_tone_is_the_mean_predictor():
    x, label = data(*TALL)
    none = torch.zeros(3, 1, 5, dtype=torch.float64)
    found = convex_probe_errors(x, label, none)
    torch.testing.assert_close(found, torch.ones_like(found), rtol=1e-14, atol=0)


@given(
    seed=st.integers(0, 2**20), share=st.floats(0, 1), ridge=st.sampled_from([1e-3, 0.1, 3.0, 100])
)
def test_value__is_convex_monotone_and_above_its_tangents(seed, share, ridge):
    for size in (TALL, WIDE):
        x, label = data(*size, batch=1, seed=seed)
        task = probe_task(x, label, ridge=ridge, degree=2)
        ends = weights(size[1], batch=1, count=2, seed=seed + 1)
        middle = share * ends[:, :1] + (1 - share) * ends[:, 1:]
        larger = torch.maximum(ends[:, :1], ends[:, 1:])
        binary = (weights(size[1], batch=1, count=1, seed=seed + 2) > 0.5).double()
        at = torch.cat([ends, middle, larger, binary], 1)
        value, slope = (each[0] for each in convex_probe_slope(task, at))
        assert (value[2] <= share * value[0] + (1 - share) * value[1] + 1e-10).all()
        assert (value[3] <= value[:2].amin(0) + 1e-10).all()
        assert (slope <= 0).all()
        tangent = value[0] + slope[0] @ (at[0, 4] - at[0, 0])
        assert (tangent <= value[4] + 1e-10).all()
        assert ((value >= -1e-12) & (value <= 1 + 1e-12)).all()


def test_value__two_copies_are_one_of_their_summed_weight():
    x, label = data(*TALL)
    double = torch.cat([x, x[:, :, :1]], 2)
    w = weights(6)
    merged = w[..., :5].clone()
    merged[..., 0] += w[..., 5]
    left, right = convex_probe_value(double, label, w), convex_probe_value(x, label, merged)
    torch.testing.assert_close(left, right, rtol=1e-11, atol=0)


def test_value__constant_features_and_labels_do_no_harm():
    x, label = data(*TALL)
    x[:, :, 2] = 4.2
    w = weights(5)
    with_it, without = w.clone(), w.clone()
    with_it[..., 2], without[..., 2] = 1, 0
    found = [convex_probe_value(x, label, each) for each in (with_it, without)]
    torch.testing.assert_close(*found, rtol=1e-12, atol=0)
    _, slope = convex_probe_slope(probe_task(x, label), w)
    assert (slope[..., 2] == 0).all()
    label[..., 2:] = 0
    assert (convex_probe_errors(x, label, w)[..., 1] == 0).all()


@pytest.mark.parametrize("size", [TALL, WIDE], ids=["tall", "wide"])
def test_errors__a_lane_alone_is_the_same_in_a_batch(size):
    x, label = data(*size, batch=5)
    w = weights(size[1], batch=5)
    whole = convex_probe_errors(x, label, w)
    for lane in range(5):
        rows = slice(lane, lane + 1)
        alone = convex_probe_errors(x[rows], label[rows], w[rows, 1:2])
        torch.testing.assert_close(whole[rows, 1:2], alone, rtol=1e-12, atol=0)


def test_errors__do_not_depend_on_the_chunk(monkeypatch):
    x, label = data(*TALL)
    whole = convex_probe_errors(x, label, weights(5))
    monkeypatch.setattr("isac_gym.physics.convex_probe._CHUNK", 1)
    torch.testing.assert_close(convex_probe_errors(x, label, weights(5)), whole, rtol=1e-12, atol=0)


def test_predict__fits_what_the_value_says():
    x, label = data(*TALL)
    mask = (weights(5) > 0.4).double()
    ridge = 1e-9  # without a penalty the objective is the fit
    errors = convex_probe_errors(x, label, mask, ridge=ridge)
    fitted = convex_probe_predict(x, label, x, mask, ridge=ridge)
    torch.testing.assert_close(task_errors(fitted, label), errors, rtol=1e-6, atol=1e-7)


def test_errors__run_on_meta_and_keep_the_dtype():
    x, label = data(*TALL)
    w = weights(5)
    shapes = convex_probe_errors(*(each.to("meta") for each in (x, label, w)))
    assert shapes.shape == (3, 4, 2)
    single = convex_probe_errors(x.float(), label.float(), w.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), convex_probe_errors(x, label, w), rtol=1e-5, atol=0)


def test_basis__of_held_out_windows_uses_training_statistics():
    x, _ = data(*TALL)
    held, _ = data(7, 5, seed=3)
    found = probe_basis(held, x, degree=2)
    wanted = (held**2 - (x**2).mean(1, keepdim=True)) / (x**2).std(1, keepdim=True, correction=0)
    torch.testing.assert_close(found[..., 4:], wanted, rtol=1e-12, atol=1e-14)
    own = probe_basis(x, x, degree=2)
    torch.testing.assert_close(own.mean(1), torch.zeros(3, 5, 8).double(), rtol=0, atol=1e-13)
