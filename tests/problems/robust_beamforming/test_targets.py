import numpy as np
import torch

from isac_gym.core import Streams
from isac_gym.problems.robust_beamforming import targets

SLOT, ACCELERATION = 0.01, 20.0


def spd(name, size, batch=3):
    root = Streams.from_seed(3, batch).normal(name, size, size)
    return root @ root.mT + torch.eye(size)


def joint(name, count, batch=3):
    return spd(name, 4 * count, batch).reshape(batch, count, 4, count, 4)


def test_predict__is_the_matrix_recursion():
    covariance = joint("p", 2)
    found = targets.predict_covariance(covariance, SLOT, ACCELERATION).reshape(3, 8, 8)
    f = np.block([[np.eye(2), SLOT * np.eye(2)], [np.zeros((2, 2)), np.eye(2)]])
    g = np.vstack([SLOT**2 / 2 * np.eye(2), SLOT * np.eye(2)])
    whole, noise = np.kron(np.eye(2), f), np.kron(np.eye(2), ACCELERATION**2 * g @ g.T)
    for row in range(3):
        expected = whole @ covariance[row].reshape(8, 8).numpy() @ whole.T + noise
        np.testing.assert_allclose(found[row].numpy(), expected, rtol=1e-12, atol=1e-14)


def test_measure__adds_information():
    covariance, information = joint("p", 2), 50 * spd("e", 4)
    mean = Streams.from_seed(1, 3).normal("m", 2, 4)
    position = Streams.from_seed(1, 3).normal("x", 2, 2)
    noise = torch.zeros(3, 4).double()
    root = targets.information_root(information)
    found_mean, found = targets.measure(mean, covariance, root, position, noise)
    picks = np.zeros((4, 8))
    picks[[0, 1, 2, 3], [0, 1, 4, 5]] = 1
    for row in range(3):
        prior = np.linalg.inv(covariance[row].reshape(8, 8).numpy())
        e, x = information[row].numpy(), position[row].flatten().numpy()
        posterior = np.linalg.inv(prior + picks.T @ e @ picks)
        np.testing.assert_allclose(found[row].reshape(8, 8).numpy(), posterior, rtol=0, atol=1e-7)
        vector = prior @ mean[row].flatten().numpy() + picks.T @ e @ x
        np.testing.assert_allclose(found_mean[row].flatten().numpy(), posterior @ vector, atol=1e-6)


def test_measure__nothing_changes_nothing():
    covariance = joint("p", 2)
    mean = Streams.from_seed(1, 3).normal("m", 2, 4)
    root = targets.information_root(torch.zeros(3, 4, 4).double())
    position, noise = mean[..., :2] + 1, torch.zeros(3, 4).double()
    found_mean, found = targets.measure(mean, covariance, root, position, noise)
    torch.testing.assert_close(found, covariance, rtol=0, atol=1e-6)
    torch.testing.assert_close(found_mean, mean, rtol=0, atol=1e-6)


def test_bound__is_the_position_trace():
    covariance = joint("p", 3)
    found = targets.bound_of(covariance)
    for target in range(3):
        block = covariance[:, target, :2, target, :2]
        torch.testing.assert_close(found[:, target], block.diagonal(dim1=1, dim2=2).sum(-1))


def test_prior__is_diagonal():
    prior = targets.prior_covariance(torch.zeros(2, 2, 2).double(), 3.0, 5.0)
    expected = torch.diag(torch.tensor([9.0, 9, 25, 25] * 2).double())
    torch.testing.assert_close(prior.reshape(2, 8, 8), expected.expand(2, 8, 8))


def test_move__is_newton_inside_and_a_mirror_at_the_wall():
    position = torch.tensor([[[0.0, 0.0], [9.95, -9.99]]]).double()
    velocity = torch.tensor([[[3.0, -2.0], [10.0, -10.0]]]).double()
    pull = torch.tensor([[[1.0, 2.0], [0.0, 0.0]]]).double()
    after, fast, turn = targets.move(position, velocity, pull, slot_s=0.01, region_m=10.0)
    torch.testing.assert_close(after[0, 0], torch.tensor([0.03005, -0.0199]).double())
    torch.testing.assert_close(fast[0, 0], torch.tensor([3.01, -1.98]).double())
    torch.testing.assert_close(after[0, 1], torch.tensor([9.95, -9.91]).double())
    torch.testing.assert_close(fast[0, 1], torch.tensor([-10.0, 10.0]).double())
    assert turn.sign.tolist() == [[[1, 1], [-1, -1]]]
    torch.testing.assert_close(
        turn.shift[0, 1], torch.tensor([-0.1, 0.18]).double(), atol=1e-5, rtol=0
    )
    mean = torch.cat([position, velocity], -1)
    free = targets.predict(mean, 0.01, turn)
    torch.testing.assert_close(free[0, 1], torch.cat([after, fast], -1)[0, 1])


def test_turned__velocity_errors_change_sign():
    covariance = joint("p", 2)
    sign = torch.tensor([[[1.0, -1.0], [1.0, 1.0]]]).double().expand(3, -1, -1)
    found = targets.turned(covariance, targets.Turn(torch.zeros_like(sign), sign))
    flip = torch.diag(torch.tensor([1.0, 1, 1, -1, 1, 1, 1, 1]).double())
    expected = flip @ covariance.reshape(3, 8, 8) @ flip
    torch.testing.assert_close(found.reshape(3, 8, 8), expected)


def test_move__targets_do_not_meet():
    position = torch.tensor([[[0.0, 0.0], [1.5, 0.0]]]).double()
    velocity = torch.tensor([[[5.0, 0.0], [-5.0, 0.0]]]).double()
    nearest = torch.inf
    for _ in range(200):
        position, velocity, _ = targets.move(
            position, velocity, torch.zeros_like(position), slot_s=0.05, region_m=3.0
        )
        nearest = min(nearest, float((position[0, 0] - position[0, 1]).norm()))
        assert float(position.abs().max()) <= 3
    assert nearest >= 1


def test_keep_apart__only_where_needed():
    far = torch.tensor([[[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]]).double()
    assert torch.equal(targets.keep_apart(far, 0.2), far)
    for near in ([[0.0, 0.0], [0.05, 0.0]], [[1.0, 1.0], [1.0, 1.0]]):
        apart = targets.keep_apart(torch.tensor([near]).double(), 0.2)[0]
        assert 0.2 <= float((apart[0] - apart[1]).norm()) < 0.201
        torch.testing.assert_close(apart.mean(0), torch.tensor(near).double().mean(0))
