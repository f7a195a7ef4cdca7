"""The S-lemma programmes against the batched worst case and the oracles (spec 8)."""

import numpy as np
import pytest

from baselines.convex.worst_case import SLemma
from baselines.robust_beamforming import bench
from isac_gym.physics.worst_case import worst_case
from tests.oracles import robust_beamforming as oracle
from tests.physics.test_worst_case import draw, is_close, mixture, oracle_link, tensors


def weakest(user):
    """Smallest SINR of a link of the oracle by the programmes of the package."""
    programme = SLemma.compiled(user.h.shape[1])
    others = [l for l in range(len(user.h)) if l != user.cell]
    noise = 1.0 + sum(
        programme.strongest(user.h[l], float(user.eps[l]), user.rest[l]) for l in others
    )
    c = user.cell
    return programme.weakest(user.h[c], float(user.eps[c]), user.v, user.rest[c], noise)


def test_weakest__agrees_with_the_worst_case_and_the_oracle():
    for arrays, c, k in mixture(41, 21):
        user = oracle_link(arrays, 0, c, k)
        nominal = float(user.sinr(np.zeros_like(user.h)))
        found = weakest(user)
        assert is_close(found, worst_case(*tensors(arrays)).sinr[0, c, k].item(), nominal)
        assert is_close(found, oracle.worst_sinr_pencil(user), nominal)


@pytest.mark.parametrize("seed", range(4))
def test_strongest__agrees_with_the_secular_equation(seed):
    rng = np.random.default_rng(seed)
    factor = oracle.complex_normal(rng, 5, 1 + seed)
    matrix, h = factor @ factor.conj().T, 3 * oracle.complex_normal(rng, 5)
    for radius in (0.0, 0.1, 2.0):
        found = SLemma.compiled(5).strongest(h, radius, matrix)
        assert found == pytest.approx(oracle.largest_quadratic(matrix, h, radius), rel=1e-6)


def test_strongest__hard_case():
    matrix, h, radius, answer = oracle.hard_case()
    assert SLemma.compiled(5).strongest(h, radius, matrix) == pytest.approx(answer, rel=1e-6)


def test_weakest__of_no_beam_or_one_that_can_be_missed_is_zero():
    programme = SLemma.compiled(3)
    h, rest = np.array([1.0 + 0j, 0, 0]), np.eye(3, dtype=complex)
    assert programme.weakest(h, 0.1, np.zeros(3, complex), rest, 1.0) == 0.0
    hidden = programme.weakest(h, 1.2, np.array([1.0 + 0j, 0, 0]), rest, 1.0)
    assert 0 <= hidden < 1e-7
    seen = programme.weakest(h, 0.5, np.array([1.0 + 0j, 0, 0]), 0 * rest, 2.0)
    assert seen == pytest.approx(0.25 / 2, rel=1e-6)


def test_compiled__one_programme_for_each_size():
    assert SLemma.compiled(3) is SLemma.compiled(3)
    assert SLemma.compiled(3) is not SLemma.compiled(4)


def test_bench__the_slow_side_of_the_row_is_exact():
    """All users of two instances, as the benchmark calls it."""
    stage = bench._stage(2, 2)
    found, wanted = bench._sdp(stage), bench._sinr(stage)
    gap = (found - wanted).abs() / wanted.clamp_min(1e-3)
    assert gap.max() <= 1e-6


def test_weakest__falls_with_radius_and_noise():
    arrays = draw(42, 1, radius=0.1)
    user = oracle_link(arrays, 0, 0, 0)
    programme, c = SLemma.compiled(5), user.cell
    values = [
        programme.weakest(user.h[c], factor * float(user.eps[c]), user.v, user.rest[c], noise)
        for factor, noise in ((1.0, 1.0), (1.5, 1.0), (1.5, 3.0))
    ]
    assert values[0] > values[1] > values[2] > 0
