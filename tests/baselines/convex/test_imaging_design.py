"""The batched descent against CVXPY, both models, with and without an active SINR."""

import pytest
import torch

from baselines.convex.imaging_design import ImagingSdp
from isac_gym.physics import a_optimal
from tests.physics.test_a_optimal import achieved_sinr, draw, rows


def sdp(task, lane, *, is_joint):
    one = rows(task, slice(lane, lane + 1))
    arrays = (one.bs_channel, one.gram, one.precision, one.comm_channel)
    return ImagingSdp.compiled(one.bs_channel.shape[1], one.bs_channel.shape[2]).solve(
        *(t[0].numpy() for t in arrays),
        gain=float(one.gain),
        max_power_w=float(one.max_power_w),
        min_sinr=float(one.min_sinr),
        comm_noise_w=float(one.comm_noise_w),
        is_joint=is_joint,
    )


@pytest.mark.parametrize("is_joint", [False, True])
@pytest.mark.parametrize("is_active", [False, True])
def test_descent__agrees_with_cvxpy(is_joint, is_active):
    run = a_optimal.joint_design if is_joint else a_optimal.step1_design
    task, _ = draw(2, min_sinr=0.0)
    if is_active:
        heard = achieved_sinr(task, a_optimal.joint_design(task))
        task = task._replace(min_sinr=1.3 * heard)
    found = run(task)
    assert found.is_reachable.all()
    for lane in range(2):
        value, covariance = sdp(task, lane, is_joint=is_joint)
        assert value == pytest.approx(float(found.value[lane]), rel=1e-5)
        given = torch.from_numpy(covariance)[None]
        again = a_optimal.error_bound(rows(task, slice(lane, lane + 1)), given)
        assert float(again) == pytest.approx(value, rel=1e-5)
