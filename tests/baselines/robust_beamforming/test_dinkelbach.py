"""The textbook worst case against the package's and against the oracle (spec 8)."""

import numpy as np
import pytest
import torch

from baselines.robust_beamforming.dinkelbach import dinkelbach_sinr
from isac_gym.physics.worst_case import sinr_at, worst_case
from tests.oracles import robust_beamforming as oracle
from tests.physics.test_worst_case import KINDS, RADII, draw, mixture, oracle_link, tensors


@pytest.mark.parametrize("users", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_dinkelbach__agrees_with_the_worst_case(kind, users):
    for radius in RADII:
        parts = tensors(draw((31, users), 40, kind=kind, radius=radius, users=users))
        ours, theirs = worst_case(*parts), dinkelbach_sinr(*parts)
        nominal = sinr_at(parts[0], *parts[2:])
        assert theirs.shape == ours.sinr.shape
        gap = (theirs - ours.sinr).abs()
        assert (gap <= 1e-7 * ours.sinr + 1e-10 * nominal).all()
        assert (theirs >= ours.lower - 1e-9 * (1 + ours.sinr)).all()


def test_dinkelbach__agrees_with_the_oracle():
    for arrays, c, k in mixture(32, 28):
        user = oracle_link(arrays, 0, c, k)
        nominal = float(user.sinr(np.zeros_like(user.h)))
        found = dinkelbach_sinr(*tensors(arrays))[0, c, k].item()
        wanted = oracle.worst_sinr_pencil(user)
        assert found == pytest.approx(wanted, rel=1e-7, abs=1e-9 * (1 + nominal))


def test_dinkelbach__closed_form_of_one_user_without_sensing():
    for kind in ("mrt+none", "zf+none"):
        arrays = draw(33, 20, kind=kind, radius=0.1)
        found = dinkelbach_sinr(*tensors(arrays))
        for b in range(20):
            wanted = oracle.worst_sinr_closed(*(a[b] for a in arrays[:3]))
            assert np.allclose(found[b].numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_dinkelbach__more_steps_change_nothing_and_fewer_are_from_above():
    parts = tensors(draw(34, 30))
    exact = dinkelbach_sinr(*parts)
    more = dinkelbach_sinr(*parts, outer=12, newton=80)
    torch.testing.assert_close(more, exact, rtol=1e-9, atol=1e-10)
    early = dinkelbach_sinr(*parts, outer=1)
    assert (early >= exact * (1 - 1e-9) - 1e-12).all()
    assert (early > exact * 1.001).any()


def test_dinkelbach__rows_are_independent():
    parts = tensors(draw(35, 5))
    whole = dinkelbach_sinr(*parts)
    alone = dinkelbach_sinr(*(part[2:3] for part in parts))
    torch.testing.assert_close(alone, whole[2:3], rtol=1e-9, atol=1e-12)
