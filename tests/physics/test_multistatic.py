"""Information on target positions against simulated echoes, closed forms, an SDP and ML."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from isac_gym.physics.multistatic import (
    block_diagonal,
    position_information,
    resolved_information,
    steering,
    target_bounds,
)
from tests.oracles import robust_beamforming as common
from tests.oracles import robust_beamforming_sensing as oracle

POWER_W = 10.0
PAPER = np.full(3, POWER_W)


def covariances(seed, *, antennas=5, rank=2, count=1):
    """Random covariances of full power, (count, 3, N, N)."""
    x = common.complex_normal(np.random.default_rng(seed), count, 3, antennas, rank)
    r = x @ x.conj().swapaxes(2, 3)
    return POWER_W * r / np.trace(r, axis1=2, axis2=3)[..., None, None]


def isotropic(antennas=5):
    return np.stack([POWER_W / antennas * np.eye(antennas) + 0j] * 3)


def inputs(place, cov, dtype=torch.float64):
    """Arguments of position_information for covariances (B, I, N, N) in one scene."""
    wide = {torch.float64: torch.complex128, torch.float32: torch.complex64}[dtype]
    parts = (
        oracle.electrical_angle(place.bs, place.target),
        oracle.angle_slope(place.bs, place.target),
        place.reflection,
        place.chi,
    )
    return [torch.as_tensor(cov, dtype=wide)] + [
        torch.as_tensor(p, dtype=wide if np.iscomplexobj(p) else dtype).expand(len(cov), *p.shape)
        for p in parts
    ]


def information(place, cov):
    return position_information(*inputs(place, cov))


def crlb(info):
    """Sum of all coordinate bounds, (B,)."""
    return target_bounds(info).sum(1)


def bound(place, cov):
    return crlb(information(place, cov))


def error(found, wanted):
    return np.abs(np.asarray(found) - wanted).max() / np.abs(wanted).max()


def uneven(seed, mode, **options):
    """The paper's network with reflections that differ between the two directions of a path."""
    place = oracle.scene(seed, mode, **options)
    shape = place.reflection.shape
    return replace(place, reflection=common.complex_normal(np.random.default_rng(seed), *shape))


scenes = st.builds(uneven, st.integers(0, 2**32 - 1), st.sampled_from(oracle.MODES))
seeds = st.integers(0, 2**32 - 1)


# --- the value ----------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [1, 2, 5])
@pytest.mark.parametrize("mode", oracle.MODES)
def test_information__matches_simulated_echoes(mode, rank):
    place = uneven(1, mode)
    cov = covariances(rank, rank=rank, count=3)
    found = information(place, cov)
    for b in range(3):
        assert error(found[b], oracle.information(place, cov[b])) < 1e-8
        assert error(found[b], oracle.kernel_information(place, cov[b])) < 1e-9


@pytest.mark.parametrize("mode", oracle.MODES)
@pytest.mark.parametrize(("antennas", "targets"), [(2, 1), (4, 3), (8, 2)])
def test_information__other_sizes(mode, antennas, targets):
    target = np.random.default_rng(2).uniform(-20, 20, (targets, 2))
    place = oracle.scene(2, mode, num_antennas=antennas, target=target)
    cov = covariances(3, antennas=antennas, rank=antennas)
    assert error(information(place, cov)[0], oracle.information(place, cov[0])) < 1e-8


def test_resolved__closed_form():
    place = uneven(4, "resolved")
    cov = covariances(4, rank=3, count=4)
    full = information(place, cov)
    blocks = resolved_information(*inputs(place, cov)[:4])
    for b in range(4):
        wanted = oracle.resolved_information(place, cov[b])
        assert error(full[b], wanted) < 1e-10
        assert error(block_diagonal(blocks)[b], wanted) < 1e-10
        for j in range(2):
            own = wanted[2 * j : 2 * j + 2, 2 * j : 2 * j + 2]
            assert error(blocks[b, j], own) < 1e-10


def test_checker__rejects_a_wrong_formula():
    """Non-vacuity: known reflections or resolved delays are not what the echoes say."""
    place = oracle.scene(5, "bandlimited")
    cov = covariances(5)
    wanted = oracle.information(place, cov[0])
    omit = information(replace(place, chi=oracle.scene(5, "resolved").chi), cov)[0]
    wave = oracle.waveforms(cov[0], place.chi)
    slope = oracle.jacobian(place, wave, place.target, place.reflection)[1][:, :4]
    assert error(omit, wanted) > 1e-3
    assert error(2 * (slope.conj().T @ slope).real, wanted) > 1e-3


@pytest.mark.parametrize(
    ("mode", "level"), [("resolved", 0.0503), ("bandlimited", 0.0608), ("unresolved", 0.33)]
)
def test_bound__of_the_papers_network(mode, level):
    """Isotropic full power: 22 cm in total where delays are resolved (spec 1.1, 2.3)."""
    wide = 0.01 if mode != "unresolved" else 0.2  # depends on the phases of the reflections
    found = bound(oracle.scene(6, mode), isotropic()[None])
    assert found.item() == pytest.approx(level, rel=wide)


@pytest.mark.parametrize("mode", oracle.MODES)
def test_bound__is_reached_by_maximum_likelihood(mode):
    place = oracle.scene(7, mode)
    cov = covariances(7, rank=4)
    errors, info = oracle.ml_error(place, cov[0], np.random.default_rng(7))
    wanted = bound(place, cov).item() / 1e3  # +30 dB
    assert np.trace(np.linalg.inv(info)) == pytest.approx(wanted, rel=1e-6)
    assert 0.85 < (errors**2).sum((1, 2)).mean() / wanted < 1.15


@pytest.mark.parametrize("mode", oracle.MODES)
def test_bound__is_smallest_at_the_sdp_optimum(mode):
    place = oracle.scene(8, mode)
    smallest, best = oracle.smallest_crlb(place, PAPER)
    assert bound(place, best[None]).item() == pytest.approx(smallest, rel=1e-5)
    tries = np.concatenate([covariances(8, rank=r, count=100) for r in (1, 2, 5)])
    assert (bound(place, tries) >= smallest * (1 - 1e-6)).all()


def test_target_bounds__are_partial_traces_of_the_inverse():
    place = oracle.scene(15, "bandlimited")
    info = information(place, covariances(15, rank=3, count=5))
    info[3, 2:] = info[3, :, 2:] = 0  # target 1 unseen
    found = target_bounds(info)
    assert torch.isinf(found[3]).all()
    for b in (0, 1, 2, 4):
        inverse = np.linalg.inv(info[b].numpy())
        assert np.allclose(found[b], [inverse[:2, :2].trace(), inverse[2:, 2:].trace()], rtol=1e-10)
        assert found[b].sum().item() == pytest.approx(oracle.crlb(info[b].numpy()), rel=1e-10)


# --- laws ---------------------------------------------------------------------------------------


@given(scenes, seeds, st.floats(1e-3, 1e3))
def test_bound__scales_with_inverse_power(place, seed, scale):
    cov = covariances(seed, rank=5)
    assert torch.allclose(bound(place, scale * cov), bound(place, cov) / scale, rtol=1e-9)


@given(scenes, seeds, st.integers(1, 5))
def test_information__grows_with_the_covariance(place, seed, rank):
    base, more = covariances(seed, rank=5, count=2)
    more = more if rank == 5 else covariances(seed, rank=rank)[0]
    gain = information(place, (base + more)[None]) - information(place, base[None])
    assert torch.linalg.eigvalsh(gain).amin() > -1e-9 * gain.abs().amax()
    assert bound(place, (base + more)[None]) <= bound(place, base[None]) * (1 + 1e-9)


@given(scenes, seeds, st.floats(0, 1))
def test_bound__is_convex_and_information_concave(place, seed, share):
    left, right = covariances(seed, rank=3, count=2)
    middle = (share * left + (1 - share) * right)[None]
    values = bound(place, np.stack([left, right]))
    chord = share * values[0] + (1 - share) * values[1]
    assert bound(place, middle) <= chord * (1 + 1e-9)
    mean = share * information(place, left[None]) + (1 - share) * information(place, right[None])
    gap = information(place, middle) - mean
    assert torch.linalg.eigvalsh(gap).amin() > -1e-9 * mean.abs().amax()


@given(scenes, seeds)
def test_information__ignores_phases_order_and_array_offset(place, seed):
    rng = np.random.default_rng(seed)
    cov = covariances(seed, rank=3)
    wanted = information(place, cov)
    phase = np.exp(2j * np.pi * rng.random((3, 1, 3)))  # per path (l, m), common to the targets
    turned = replace(place, reflection=place.reflection * phase)
    assert error(information(turned, cov), wanted.numpy()) < 1e-9
    order = rng.permutation(3)
    moved = replace(
        place,
        bs=place.bs[order],
        reflection=place.reflection[order][:, :, order],
        chi=place.chi[order][:, order],
    )
    assert error(information(moved, cov[:, order]), wanted.numpy()) < 1e-9
    # Steering all arrays by a constant electrical angle is a phase ramp on the antennas.
    parts, offset = inputs(place, cov), torch.as_tensor(rng.uniform(-1, 1, 3))
    ramp, _ = steering(offset, 5)
    parts[0] = ramp[:, :, None] * parts[0] * ramp[:, None, :].conj()
    parts[1] = parts[1] + offset[:, None]
    assert error(position_information(*parts), wanted.numpy()) < 1e-9


def test_resolved__ignores_the_phase_of_every_reflection():
    place, cov = oracle.scene(9, "resolved"), covariances(9)
    other = replace(place, reflection=np.abs(place.reflection) + 0j)
    assert error(information(other, cov), information(place, cov).numpy()) < 1e-10


@given(st.floats(-3, 3), st.integers(2, 9))
def test_steering__centred_unit_modulus_and_derivative(angle, antennas):
    a, slope = steering(torch.tensor([angle], dtype=torch.float64), antennas)
    step = torch.tensor([1e-6], dtype=torch.float64)
    up, down = (steering(angle + s, antennas)[0] for s in (step, -step))
    assert torch.allclose(slope, (up - down) / 2e-6, atol=1e-8)
    assert torch.allclose(a.abs(), torch.ones(1, antennas, dtype=torch.float64), rtol=1e-14)
    assert abs((a.conj() * slope).sum()) < 1e-12


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", oracle.MODES)
def test_bound__is_infinite_without_sensing_power(mode, dtype):
    place = oracle.scene(10, mode)
    cov = np.stack([isotropic(), 0 * isotropic(), isotropic()])
    parts = inputs(place, cov, dtype)
    found = crlb(position_information(*parts))
    assert torch.isinf(found[1])
    assert found[::2].isfinite().all()
    blocks = resolved_information(*parts[:4])
    assert (blocks[1] == 0).all()


def test_information__of_a_target_in_the_dark_is_finite():
    """One station's signal orthogonal to the response of target 0, then to its slope as well."""
    place = oracle.scene(11, "resolved")
    a, slope = steering(torch.as_tensor(oracle.electrical_angle(place.bs, place.target)), 5)
    a, slope = a.numpy(), slope.numpy()
    cov = covariances(11, rank=5)
    dark = np.eye(5) - np.outer(a[0, 0], a[0, 0].conj()) / 5
    cov[0, 0] = dark @ cov[0, 0] @ dark
    found = information(place, cov)[0]
    assert found.isfinite().all()
    assert error(found, oracle.resolved_information(place, cov[0])) < 1e-6
    null = np.eye(5) - (lambda q: q @ q.conj().T)(
        np.linalg.qr(np.stack([a[0, 0], slope[0, 0]], 1))[0]
    )
    cov[0, 0] = null @ cov[0, 0] @ null
    assert error(information(place, cov)[0], oracle.resolved_information(place, cov[0])) < 1e-6


@pytest.mark.parametrize("mode", oracle.MODES)
def test_gradient__matches_central_differences(mode):
    place = oracle.scene(12, mode)
    parts = inputs(place, covariances(12, rank=5))
    factor = torch.linalg.cholesky(parts[0])
    generator = torch.Generator().manual_seed(0)
    way = torch.randn(factor.shape, generator=generator, dtype=factor.dtype)

    def value(step):
        c = factor + step * way
        return crlb(position_information(c @ c.mH, *parts[1:]))[0]

    step = torch.zeros((), dtype=torch.float64, requires_grad=True)
    slope = torch.autograd.grad(value(step), step)[0]
    wanted = (value(1e-5) - value(-1e-5)) / 2e-5
    assert slope.item() == pytest.approx(wanted.item(), rel=1e-6)


@pytest.mark.parametrize("mode", oracle.MODES)
def test_rows__are_independent(mode, dtype, tolerance):
    parts = inputs(oracle.scene(13, mode), covariances(13, rank=4, count=6), dtype)
    together = position_information(*parts)
    for b in range(6):
        alone = position_information(*(part[b : b + 1] for part in parts))[0]
        scale = together[b].abs().amax()
        assert (alone - together[b]).abs().amax() <= tolerance.row * scale


@pytest.mark.parametrize("mode", oracle.MODES)
def test_float32__is_good_enough_for_training(mode):
    place, cov = oracle.scene(14, mode), covariances(14, rank=4, count=20)
    exact = bound(place, cov)
    rough = crlb(position_information(*inputs(place, cov, torch.float32)))
    assert rough.dtype == torch.float32
    assert torch.allclose(rough.double(), exact, rtol=1e-3)
    blocks = resolved_information(*inputs(place, cov, torch.float32)[:4])
    wide = resolved_information(*inputs(place, cov)[:4])
    assert torch.allclose(blocks.double(), wide, rtol=1e-4, atol=1e-4 * wide.abs().amax())
