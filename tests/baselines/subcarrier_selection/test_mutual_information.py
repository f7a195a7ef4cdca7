import numpy as np
import pytest
import torch
from scipy.special import digamma
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from baselines.subcarrier_selection.mutual_information import (
    class_information,
    untied,
    value_information,
)


def columns(*, batch=2, windows=90, count=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, windows, count, generator=draw, dtype=torch.float64)
    noise = torch.randn(batch, windows, 2, generator=draw, dtype=torch.float64)
    return x, x[..., :2] ** 2 + 0.3 * noise


def one_hot(label, classes):
    return torch.nn.functional.one_hot(label, classes).double()


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_value_information__equals_scikit_learn(neighbours):
    x, y = columns()
    mine = value_information(untied(x, "x", 0), untied(y, "y", 0), neighbours=neighbours)
    for lane in range(2):
        for axis in range(2):
            wanted = mutual_info_regression(
                x[lane].numpy(), y[lane, :, axis].numpy(), n_neighbors=neighbours, random_state=0
            )
            torch.testing.assert_close(
                mine[lane, :, axis], torch.from_numpy(wanted), rtol=0, atol=1e-9
            )


@pytest.mark.parametrize("neighbours", [1, 3, 7])
def test_class_information__equals_scikit_learn(neighbours):
    x, y = columns()
    label = (y[..., 0] > 0.5).long()
    label[:, 0] = 3  # alone in its class
    mine = class_information(untied(x, "x", 0), one_hot(label, 5), neighbours=neighbours)
    for lane in range(2):
        wanted = mutual_info_classif(
            x[lane].numpy(), label[lane].numpy(), n_neighbors=neighbours, random_state=0
        )
        torch.testing.assert_close(mine[lane], torch.from_numpy(wanted), rtol=0, atol=1e-9)


@pytest.mark.parametrize("neighbours", [3, 40])
def test_class_information__of_small_classes_equals_loops(neighbours):
    # scikit-learn finds these neighbours by differences of squares, which rounding reorders
    x, y = columns(batch=1)
    label = (y[0, :, 0] > 0.5).long() + (y[0, :, 1] > 2).long()
    label[0] = 3
    mine = class_information(x, one_hot(label, 4)[None], neighbours=neighbours)
    for column in range(5):
        terms = []
        points, kinds = x[0, :, column].numpy(), label.numpy()
        members = [i for i in range(90) if (kinds == kinds[i]).sum() > 1]
        for i in members:
            size = (kinds == kinds[i]).sum()
            k = min(neighbours, size - 1)
            others = [j for j in members if kinds[j] == kinds[i] and j != i]
            edge = np.sort(np.abs(points[others] - points[i]))[k - 1]
            closer = (np.abs(points[members] - points[i]) < edge).sum()
            terms.append(digamma(k) - digamma(size) - digamma(closer))
        wanted = max(0.0, digamma(len(members)) + np.mean(terms))
        assert float(mine[0, column]) == pytest.approx(wanted, abs=1e-12)


def test_value_information__is_that_of_correlated_gaussians():
    x, _ = columns(batch=1, windows=1500, count=2)
    y = 0.8 * x[..., :1] + 0.6 * x[..., 1:]
    found = value_information(untied(x[..., :1], "x", 0), untied(y, "y", 0), neighbours=3)
    exact = -0.5 * torch.log(torch.tensor(1 - 0.64)).item()
    assert float(found) == pytest.approx(exact, abs=0.06)


def test_information__of_unrelated_columns_is_about_zero():
    x, _ = columns(batch=1, windows=800, count=6, seed=5)
    values = value_information(untied(x[..., :4], "x", 0), untied(x[..., 4:], "y", 0), neighbours=3)
    label = one_hot((x[..., 5] > 0).long(), 2)
    classes = class_information(untied(x[..., :4], "x", 0), label, neighbours=3)
    assert float(values.max()) < 0.09
    assert float(classes.max()) < 0.09


def test_information__does_not_depend_on_batch_and_chunk(monkeypatch):
    x, y = columns(batch=4)
    label = one_hot((y[..., 0] > 0.5).long(), 2)

    def both(rows):
        a, b = untied(x[rows], "x", 1), untied(y[rows], "y", 1)
        return value_information(a, b, neighbours=3), class_information(
            a, label[rows], neighbours=3
        )

    whole = both(slice(None))
    monkeypatch.setattr("baselines.subcarrier_selection.mutual_information._CHUNK", 1)
    for lane in range(4):
        for all_rows, alone in zip(whole, both(slice(lane, lane + 1)), strict=True):
            assert torch.equal(all_rows[lane : lane + 1], alone)
