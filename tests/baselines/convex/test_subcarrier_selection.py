import numpy as np
import pytest
import torch

from baselines.convex.subcarrier_selection import group_lasso_optimum, probe_optimum
from baselines.subcarrier_selection.group_lasso import group_lasso, largest_penalty
from baselines.subcarrier_selection.probe_relaxation import relaxed_probe
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.physics.convex_probe import probe_task

CASES = [("tiny-8", 3.0, 1), ("tiny-8", 0.05, 2), ("small-16", 3.0, 1), ("small-16", 0.05, 2)]


def room(preset, seed=3):
    problem = family("subcarrier_selection").make_problem(preset)
    return problem.scenario, problem.sample(Streams.from_seed(seed, 1))


@pytest.mark.parametrize(("preset", "ridge", "degree"), CASES)
def test_relaxation__has_the_optimum_of_the_cone_programme(preset, ridge, degree):
    s, i = room(preset)
    task = probe_task(i.train, i.train_label, ridge=ridge, degree=degree)
    mine = relaxed_probe(task, s.num_tones, s.max_tones, iterations=2000, tolerance=1e-9)
    x, label = i.train[0].numpy(), i.train_label[0].numpy()
    theirs = probe_optimum(x, label, ridge=ridge, total=s.max_tones, degree=degree)
    assert float(mine.value) == pytest.approx(theirs.value, abs=1e-8)
    assert float(mine.lower) <= theirs.value + 1e-8
    np.testing.assert_allclose(mine.weight[0].numpy(), theirs.weight, atol=1e-3)


@pytest.mark.parametrize("share", [0.5, 0.1, 0.02])
def test_group_lasso__has_the_optimum_of_the_cone_programme(share):
    s, i = room("small-16")
    task = probe_task(i.train, i.train_label, degree=1)
    penalty = share * largest_penalty(task, s.num_tones)
    length = 1 / torch.linalg.eigvalsh(task.gram)[:, -1]
    v, status, _ = group_lasso(
        task,
        penalty,
        torch.zeros_like(task.cross),
        length,
        tones=s.num_tones,
        iterations=5000,
        tolerance=1e-10,
    )
    norms = v[0].reshape(s.num_tones, -1).norm(dim=1)
    energy = task.energy.sum() - 2 * (v * task.cross).sum() + (v * (task.gram @ v)).sum()
    cost = energy / 2 + penalty * norms.sum()
    theirs, sizes = group_lasso_optimum(
        i.train[0].numpy(), i.train_label[0].numpy(), penalty=float(penalty)
    )
    assert int(status) == 0
    assert float(cost) == pytest.approx(theirs, abs=1e-8)
    np.testing.assert_allclose(norms.numpy(), sizes, atol=2e-4)
