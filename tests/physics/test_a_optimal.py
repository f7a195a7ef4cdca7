"""A-optimal probing: certificates, gradient, split, convexity, independent lanes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from isac_gym.physics import a_optimal, trace_descent
from isac_gym.physics.imaging import user_gram
from tests.oracles import imaging_design as oracle

POWER, GAIN, NOISE = 10.0, 30.0, 0.3


def draw(batch=3, *, voxels=8, antennas=4, users=5, seed=0, min_sinr=10.0, dtype=torch.complex128):
    """A task and the user channels behind its gram."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        drawn = torch.randn(*shape, dtype=torch.complex128, generator=generator)
        return drawn.to(dtype)

    g = normal(batch, users, voxels)
    real = dtype.to_real()
    one = torch.ones(batch, dtype=real)
    task = a_optimal.ProbingTask(
        bs_channel=normal(batch, voxels, antennas),
        gram=user_gram(g),
        precision=(torch.eye(voxels, dtype=dtype) / 0.3).repeat(batch, 1, 1),
        comm_channel=normal(batch, antennas),
        max_power_w=POWER * one,
        gain=GAIN * one,
        min_sinr=min_sinr * one,
        comm_noise_w=NOISE * one,
    )
    return task, g


def rows(task, index):
    return a_optimal.ProbingTask(*(t[index] for t in task))


RUN = {"step1": a_optimal.step1_design, "joint": a_optimal.joint_design}


def informing(name, found):
    beam = trace_descent.outer(found.beam)
    return found.covariance if name == "step1" else found.covariance + beam


def achieved_sinr(task, found):
    h = task.comm_channel
    wanted = (h.conj() * found.beam).sum(-1).abs().square()
    return wanted / (trace_descent.share_along(h, found.covariance) + task.comm_noise_w)


def used(found):
    trace = torch.diagonal(found.covariance, dim1=-2, dim2=-1).real.sum(-1)
    return trace + found.beam.abs().square().sum(-1)


def test_error_bound__is_its_definition():
    task, g = draw()
    w = torch.eye(4, dtype=torch.complex128).repeat(3, 1, 1)
    found = a_optimal.error_bound(task, w)
    for lane in range(3):
        args = (t[lane].numpy() for t in (task.bs_channel, g, task.precision, w))
        assert found[lane] == pytest.approx(oracle.error_bound(*args, GAIN), rel=1e-12)


def test_evaluate__slope_matches_central_differences():
    task, g = draw(1)
    rng = np.random.default_rng(1)
    root, direction = (
        rng.standard_normal((4, 4)) + 1j * rng.standard_normal((4, 4)) for _ in range(2)
    )
    w, direction = root @ root.conj().T, direction + direction.conj().T
    data = trace_descent.TraceTask(
        channel=GAIN**0.5 * task.bs_channel,
        gram=task.gram,
        precision=task.precision,
        direction=task.comm_channel / task.comm_channel.norm(),
        need=torch.zeros(1),
        weight=torch.ones(1),
        reward=torch.zeros(1),
    )
    _, m = trace_descent.evaluate(data, torch.from_numpy(w)[None])
    along = -np.trace(m[0].numpy() @ direction).real
    args = (t[0].numpy() for t in (task.bs_channel, g, task.precision))
    assert along == pytest.approx(oracle.slope(*args, w, GAIN, direction), rel=1e-6)


@pytest.mark.parametrize("name", RUN)
@pytest.mark.parametrize("min_sinr", [0.0, 10.0, 60.0])
def test_design__is_feasible_and_its_gap_closes(name, min_sinr):
    task, _ = draw(8, min_sinr=min_sinr)
    found = RUN[name](task)
    good = found.is_reachable
    assert good.any()
    assert found.has_converged[good].all()
    assert (found.lower <= found.value).all()
    assert (found.value - found.lower <= 1.1e-8 * found.value)[good].all()
    assert (used(found) <= POWER * (1 + 1e-12)).all()
    assert (achieved_sinr(task, found) >= min_sinr)[good].all()
    assert torch.linalg.eigvalsh(found.covariance)[:, 0].min() >= -1e-12
    value = a_optimal.error_bound(task, informing(name, found))
    torch.testing.assert_close(value, found.value, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", RUN)
@given(seed=st.integers(0, 10_000), rank=st.integers(1, 4), min_sinr=st.sampled_from([0.1, 10.0]))
@settings(max_examples=25, deadline=None)
def test_design__no_random_decision_beats_the_bound(name, seed, rank, min_sinr):
    task, g = draw(1, seed=seed % 20, min_sinr=min_sinr)
    found = RUN[name](task, iterations=15, tolerance=0.0)
    h = task.comm_channel[0].numpy()
    decision = oracle.random_decision(np.random.default_rng(seed), h, POWER, min_sinr, NOISE, rank)
    if decision is None:
        return
    covariance, beam = decision
    whole = covariance if name == "step1" else covariance + np.outer(beam, beam.conj())
    assert oracle.sinr(h, covariance, beam, NOISE) >= min_sinr * (1 - 1e-9)
    args = (t[0].numpy() for t in (task.bs_channel, g, task.precision))
    assert oracle.error_bound(*args, whole, GAIN) >= float(found.lower[0]) * (1 - 1e-12)


def test_joint__active_sinr_is_met_exactly_and_costs_something():
    free, _ = draw(8, min_sinr=0.0)
    best = a_optimal.joint_design(free)
    needed = 1.5 * achieved_sinr(free, best)
    task = free._replace(min_sinr=needed)
    found = a_optimal.joint_design(task)
    good = found.is_reachable
    assert good.sum() >= 4
    torch.testing.assert_close(achieved_sinr(task, found)[good], needed[good], rtol=1e-9, atol=0)
    assert (found.value > best.value)[good].all()
    assert found.has_converged[good].all()


def test_split__silences_the_probe_and_attains_the_best_sinr():
    task, _ = draw(5)
    root = torch.randn(5, 4, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(2))
    r, h = root @ root.mH, task.comm_channel
    probe, beam = a_optimal.split(r, h)
    assert torch.linalg.eigvalsh(probe)[:, 0].min() >= -1e-12
    assert trace_descent.share_along(h, probe).abs().max() <= 1e-9
    torch.testing.assert_close(probe + trace_descent.outer(beam), r, rtol=1e-12, atol=1e-12)
    wanted = (h.conj() * beam).sum(-1).abs().square()
    torch.testing.assert_close(wanted, trace_descent.share_along(h, r))


def test_factor__gives_the_covariance_back():
    root = torch.randn(3, 4, 2, dtype=torch.complex128, generator=torch.Generator().manual_seed(3))
    w = root @ root.mH
    f = a_optimal.factor(w)
    torch.testing.assert_close(f @ f.mH, w, rtol=1e-12, atol=1e-12)


def test_error_bound__decreases_and_is_convex_and_scales():
    task, _ = draw(4)
    generator = torch.Generator().manual_seed(4)
    a, b = (torch.randn(4, 4, 4, dtype=torch.complex128, generator=generator) for _ in "ab")
    a, b = a @ a.mH, b @ b.mH
    assert (a_optimal.error_bound(task, a + b) < a_optimal.error_bound(task, a)).all()
    ends = [a_optimal.error_bound(task, w) for w in (a, b)]
    for t in (0.2, 0.5, 0.9):
        middle = a_optimal.error_bound(task, (1 - t) * a + t * b)
        assert (middle <= (1 - t) * ends[0] + t * ends[1]).all()
    flat = task._replace(precision=1e-12 * task.precision)
    scaled = a_optimal.error_bound(flat, 4 * a) * 4
    torch.testing.assert_close(scaled, a_optimal.error_bound(flat, a), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", RUN)
def test_design__unreachable_sinr_is_a_flag(name):
    task, _ = draw(4)
    task = task._replace(min_sinr=torch.tensor([10.0, 1e5, 10.0, 1e5], dtype=torch.float64))
    found = RUN[name](task)
    assert found.is_reachable.tolist() == [True, False, True, False]
    for tensor in (found.value, found.lower, found.covariance, found.beam, found.history):
        assert tensor.isfinite().all()
    lost = found.beam[1].abs().square().sum()
    assert float(lost) == pytest.approx(POWER, rel=1e-12)
    assert found.covariance[1].abs().max() <= 1e-12


@pytest.mark.parametrize("name", RUN)
def test_design__lanes_do_not_depend_on_neighbours(name):
    task, _ = draw(6)
    found = RUN[name](task)
    mixed = a_optimal.ProbingTask(
        *(torch.cat([t[:3], x[3:]]) for t, x in zip(task, draw(6, seed=9)[0], strict=True))
    )
    again = RUN[name](mixed)
    alone = RUN[name](rows(task, slice(1, 2)))
    for whole, other, single in zip(found, again, alone, strict=True):
        assert torch.equal(whole[:3], other[:3])
        torch.testing.assert_close(whole[1:2], single, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", RUN)
def test_design__confident_dense_priors_stay_accurate(name):
    task, _ = draw(4, voxels=16, antennas=8, users=6)
    root = torch.randn(16, 16, dtype=torch.complex128, generator=torch.Generator().manual_seed(5))
    sure = torch.ones(16, dtype=torch.float64)
    sure[3:] = 1e8
    prior = 10 * root @ root.mH + torch.diag(sure).to(root.dtype)
    task = task._replace(precision=prior.expand_as(task.precision))
    found = RUN[name](task)
    assert found.has_converged.all()
    even = torch.eye(8, dtype=torch.complex128).expand(4, -1, -1) / 8
    assert (found.value < a_optimal.error_bound(task, 5 * even)).all()


def test_design__single_precision_stays_and_agrees_to_four_digits():
    for name in RUN:
        exact, _ = draw(4)
        rough, _ = draw(4, dtype=torch.complex64)
        best, found = RUN[name](exact), RUN[name](rough, tolerance=1e-4)
        assert found.covariance.dtype == torch.complex64
        assert found.value.dtype == torch.float32
        torch.testing.assert_close(found.value.double(), best.value, rtol=2e-4, atol=0)


@pytest.mark.parametrize("name", RUN)
def test_design__no_claim_where_the_information_is_singular(name):
    task, _ = draw(4)
    broken = task.precision.clone()
    broken[1] = -1e9 * torch.eye(8, dtype=broken.dtype)
    found = RUN[name](task._replace(precision=broken))
    assert found.has_converged.tolist() == [True, False, True, True]
    assert float(found.lower[1]) == -torch.inf
    assert found.lower[[0, 2, 3]].isfinite().all()
    assert found.covariance.isfinite().all()


@pytest.mark.parametrize("gain", [1e6, 1e8, 1e10])
def test_design__bound_allows_for_rounding(gain):
    task, _ = draw(16, voxels=16, users=2, min_sinr=0.1)
    task = task._replace(gain=torch.full_like(task.gain, gain))
    found = a_optimal.joint_design(task, iterations=60)
    best = informing("joint", found)
    root = torch.randn(16, 4, 4, dtype=torch.complex128, generator=torch.Generator().manual_seed(6))
    other = root @ root.mH
    other = POWER * other / torch.diagonal(other, dim1=-2, dim2=-1).sum(-1)[:, None, None]
    for part in (0.0, 1e-12, 1e-9, 1e-6, 1e-3, 1.0):
        value = a_optimal.error_bound(task, (1 - part) * best + part * other)
        assert (found.lower <= value).all()


def test_design__quick_answers_are_within_their_tolerance():
    task, _ = draw(16, voxels=32, antennas=16, users=20)
    found = a_optimal.step1_design(
        task, iterations=a_optimal.CHEAP_ITERATIONS, tolerance=a_optimal.CHEAP_TOLERANCE
    )
    assert found.has_converged.all()
    assert found.iterations.double().mean() < 30
    assert (found.history.diff(dim=-1) <= 0).all()


def test_design__starts_where_it_is_told():
    task, _ = draw(4)
    for name, run in RUN.items():
        best = run(task)
        again = run(task, start=informing(name, best))
        assert (again.iterations < best.iterations).all()


def test_priority__trades_sinr_for_error_and_is_certified():
    task, _ = draw(4)
    for run, slack in ((a_optimal.joint_priority, 1e-6), (a_optimal.step1_priority, 1.0)):
        last = None
        for beta in (0.0, 0.3, 0.7, 0.95, 1.0):
            found = run(task, torch.full((4,), beta, dtype=torch.float64))
            assert (found.lower <= found.score + 1e-12).all()
            assert (found.score - found.lower <= slack).all()
            assert (used(found) <= POWER * (1 + 1e-9)).all()
            reached = achieved_sinr(task, found)
            torch.testing.assert_close(reached, found.sinr, rtol=1e-6, atol=1e-9)
            if last is not None:
                assert (found.sinr >= last.sinr * (1 - 1e-3)).all()
                assert (found.value >= last.value * (1 - 1e-3)).all()
            last = found
        largest = POWER / NOISE * task.comm_channel.abs().square().sum(-1)
        torch.testing.assert_close(last.sinr, largest, rtol=1e-6, atol=0)
