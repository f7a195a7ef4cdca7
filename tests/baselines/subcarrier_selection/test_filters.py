import numpy as np
import pytest
import torch

from baselines.registry import make_solver
from baselines.subcarrier_selection.filters import single_tone_fits
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.problems.subcarrier_selection.tone_statistics import fisher_scores
from isac_gym.testing import check_solver

NAMES = ["top-variance", "fisher", "single-tone-fit", "mutual-information"]
LABELLED = NAMES[1:]


def rooms(preset="small-16", batch=3, seed=0):
    problem = family("subcarrier_selection").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(seed, batch))


def solved(name, problem, instance, **fields):
    return make_solver("subcarrier_selection", name, **fields).solve(problem, instance)


@pytest.mark.parametrize("name", NAMES)
def test_filter__meets_the_contract(name):
    problem, _ = rooms("tiny-8", 1)
    check_solver(make_solver("subcarrier_selection", name), problem)


def test_fisher_scores__equal_loops():
    _, i = rooms(batch=2)
    draw = torch.Generator().manual_seed(0)
    label = torch.randint(3, i.train.shape[:2], generator=draw)
    found = fisher_scores(i.train, torch.nn.functional.one_hot(label, 3))
    x, y = i.train.numpy(), label.numpy()
    for b in range(2):
        for s in range(0, 16, 3):
            for c in range(4):
                column = x[b, :, s, c]
                between = within = 0.0
                for k in range(3):
                    own = column[y[b] == k]
                    between += len(own) * (own.mean() - column.mean()) ** 2
                    within += ((own - own.mean()) ** 2).sum()
                assert float(found[b, s, c]) == pytest.approx(between / within, rel=1e-10)


def test_single_tone_fits__equal_loops():
    _, i = rooms(batch=2)
    found = single_tone_fits(i.train, i.train_label, degree=2, ridge=0.01)
    x, y = i.train.numpy(), i.train_label.numpy()
    for b in range(2):
        for s in range(0, 16, 3):
            columns = np.concatenate([x[b, :, s], x[b, :, s] ** 2], axis=1)
            columns = (columns - columns.mean(0)) / columns.std(0)
            count = len(columns)
            normal = columns.T @ columns / count + 0.01 * np.eye(8)
            fit = columns @ np.linalg.solve(normal, columns.T @ y[b] / count)
            for task, part in enumerate((slice(0, 2), slice(2, 5))):
                missed = ((y[b, :, part] - fit[:, part]) ** 2).sum() / (y[b, :, part] ** 2).sum()
                assert float(found[b, s, task]) == pytest.approx(1 - missed, rel=1e-9)


def test_top_variance__keeps_the_largest_deviations():
    problem, i = rooms()
    for feature in (0, 1):
        mask = solved("top-variance", problem, i, feature=feature).decision.mask
        kept = i.feature_std[..., feature].masked_fill(~mask, torch.inf).amin(1)
        left = i.feature_std[..., feature].masked_fill(mask, 0).amax(1)
        assert (kept >= left).all()


@pytest.mark.parametrize("name", LABELLED)
def test_filter__finds_the_subcarriers_that_carry_the_labels(name):
    problem, i = rooms()
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(i.train.shape, generator=draw, dtype=torch.float64)
    telling = [1, 4, 5, 8, 10, 13, 14, 15]
    label = i.train_label
    for n, s in enumerate(telling):
        x[:, :, s, 0] += 2 * label[..., 2 + n % 3]
        x[:, :, s, 1] += 2 * label[..., n % 2]
    mask = solved(name, problem, i.replace(train=x)).decision.mask
    wanted = torch.zeros(16, dtype=torch.bool)
    wanted[telling] = True
    assert torch.equal(mask, wanted.expand(3, -1))


@pytest.mark.parametrize("name", NAMES)
def test_filter__constant_features_score_nothing_and_copies_score_alike(name):
    problem, i = rooms()
    x, std = i.train.clone(), i.feature_std.clone()
    x[:, :, 2], std[:, 2] = 0.5, 1e-6
    x[:, :, 6], std[:, 6] = x[:, :, 3], std[:, 3]
    changed = i.replace(train=x, feature_std=std)
    solver = make_solver("subcarrier_selection", name)
    score = solver.scores(problem, changed, 0)
    assert torch.isfinite(score).all()
    assert (score[:, 2] <= score.amin(1) + 1e-9).all()
    torch.testing.assert_close(score[:, 3], score[:, 6], rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("name", LABELLED)
def test_filter__sees_the_training_windows_only(name):
    problem, i = rooms()
    noise = torch.randn(i.val.shape, generator=torch.Generator().manual_seed(2)).double()
    masks = [
        solved(name, problem, each).decision.mask for each in (i, i.replace(val=noise, score=noise))
    ]
    assert torch.equal(*masks)
    other = i.replace(train=i.train.flip(1))  # features of other windows: not blind
    assert not torch.equal(masks[0], solved(name, problem, other).decision.mask)


@pytest.mark.parametrize("name", NAMES)
def test_filter__keeps_as_many_as_asked(name):
    problem, i = rooms(batch=1)
    for count, kept in ((0, 8), (6, 6), (7, 7)):
        assert int(solved(name, problem, i, count=count).decision.mask.sum()) == kept


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("fisher", {"count": 5}, r"count must be 0 or in \[6, 8\] in this scenario, got 5"),
        ("fisher", {"count": 9}, "got 9"),
        ("fisher", {"count": -1}, "count must be >= 0, got -1"),
        ("top-variance", {"feature": -1}, "feature must be >= 0, got -1"),
        ("top-variance", {"feature": 4}, "feature must be < 4, got 4"),
        ("single-tone-fit", {"degree": 0}, r"degree must be in \[1, 8\], got 0"),
        ("single-tone-fit", {"ridge": 0.0}, "ridge must be > 0, got 0"),
        ("single-tone-fit", {"ridge": float("nan")}, "ridge must be > 0, got nan"),
        ("mutual-information", {"neighbours": 0}, "neighbours must be >= 1, got 0"),
        ("mutual-information", {"neighbours": 200}, "neighbours must be < 200 training windows"),
    ],
)
def test_filter__refuses_bad_settings(name, fields, text):
    problem, i = rooms(batch=1)
    with pytest.raises(ScenarioError, match=text):
        solved(name, problem, i, **fields)
