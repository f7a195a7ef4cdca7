"""Motion in the hexagon against straight flight with walls in order of time."""

import math

import numpy as np
import pytest
import torch

from isac_gym.physics.motion import reflect_in_hexagon, uniform_in_hexagon, velocity
from tests.oracles.dynamics import move_target
from tests.oracles.power_control_physics import in_hexagon

RADIUS_M = 100.0


def _starts(count, seed):
    rng = np.random.default_rng(seed)
    u = torch.as_tensor(rng.random((count, 3)))
    return uniform_in_hexagon(u, RADIUS_M), torch.as_tensor(rng.uniform(-np.pi, np.pi, count))


@pytest.mark.parametrize("step_m", [1.0, 20.0, 50.0])
def test_reflect__matches_flight_wall_by_wall(step_m):
    position, heading = _starts(400, 3)
    moved, turned = reflect_in_hexagon(position, heading, step_m=step_m, radius_m=RADIUS_M)
    bounces = 0
    for row in range(len(heading)):
        speed = velocity(heading[row : row + 1], step_m)[0].numpy()
        end, after, hits = move_target(position[row].numpy(), speed, 1.0, RADIUS_M)
        bounces += hits
        assert np.allclose(moved[row], end, atol=1e-9)
        assert np.allclose(velocity(turned[row : row + 1], step_m)[0], after, atol=1e-9)
    assert bounces > 0


def test_reflect__corner_takes_the_edges_in_order():
    corner = np.array([RADIUS_M * math.cos(math.pi / 6), RADIUS_M / 2])
    rng = np.random.default_rng(5)
    twice = 0
    for _ in range(400):
        start = corner * (1 - rng.uniform(0.001, 0.01)) + rng.normal(0, 0.05, 2)
        if not in_hexagon(start, RADIUS_M, -1e-6):
            continue
        heading = torch.tensor([math.pi / 6 + rng.uniform(-0.5, 0.5)])
        end, _, hits = move_target(start, velocity(heading, 5.0)[0].numpy(), 1.0, RADIUS_M)
        moved, _ = reflect_in_hexagon(
            torch.as_tensor(start)[None], heading.double(), step_m=5.0, radius_m=RADIUS_M
        )
        twice += hits == 2
        assert np.allclose(moved[0], end, atol=1e-5)
    assert twice >= 10


def test_reflect__never_leaves_the_hexagon():
    position, heading = _starts(200, 7)
    for _ in range(100):
        position, heading = reflect_in_hexagon(position, heading, step_m=10.0, radius_m=RADIUS_M)
    assert all(in_hexagon(p, RADIUS_M, 1e-9) for p in position.numpy())


def test_reflect__inside_is_a_straight_line():
    start = torch.zeros(1, 2, dtype=torch.float64)
    heading = torch.tensor([0.3], dtype=torch.float64)
    moved, turned = reflect_in_hexagon(start, heading, step_m=10.0, radius_m=RADIUS_M)
    assert torch.allclose(moved[0], 10 * torch.tensor([math.cos(0.3), math.sin(0.3)]).double())
    assert torch.allclose(turned, heading)


def test_uniform_in_hexagon__second_moment_and_support():
    u = torch.as_tensor(np.random.default_rng(11).random((200_000, 3)))
    points = uniform_in_hexagon(u, RADIUS_M)
    assert points.square().sum(-1).mean().item() == pytest.approx(5 * RADIUS_M**2 / 12, rel=3e-3)
    assert all(in_hexagon(p, RADIUS_M, 1e-9) for p in points[:2000].numpy())
    sector = torch.atan2(points[:, 1], points[:, 0]).div(math.pi / 3).floor()
    counts = torch.unique(sector, return_counts=True)[1].double()
    assert torch.allclose(counts / counts.sum(), torch.full((6,), 1 / 6).double(), atol=5e-3)


def test_uniform_in_hexagon__reaches_the_vertices():
    u = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 1.0]]).double()
    angle = torch.deg2rad(torch.tensor([30.0, 150.0, 90.0]).double())
    wanted = RADIUS_M * torch.stack([torch.cos(angle), torch.sin(angle)], -1)
    torch.testing.assert_close(uniform_in_hexagon(u, RADIUS_M), wanted)


def test_reflect__straight_into_a_wall():
    apothem = RADIUS_M * math.sqrt(3) / 2
    start = torch.tensor([[apothem - 1.0, 0.0]]).double()
    moved, heading = reflect_in_hexagon(
        start, torch.zeros(1).double(), step_m=3.0, radius_m=RADIUS_M
    )
    torch.testing.assert_close(moved, torch.tensor([[apothem - 2.0, 0.0]]).double())
    assert abs(heading.item()) == pytest.approx(math.pi)


def test_reflect__runs_backwards():
    position, heading = _starts(2000, 13)
    there, facing = reflect_in_hexagon(position, heading, step_m=10.0, radius_m=RADIUS_M)
    back, _ = reflect_in_hexagon(there, facing + math.pi, step_m=10.0, radius_m=RADIUS_M)
    torch.testing.assert_close(back, position, rtol=0, atol=1e-9)


def test_reflect__uniform_stays_uniform():
    position, heading = _starts(40_000, 17)
    for _ in range(30):
        position, heading = reflect_in_hexagon(position, heading, step_m=10.0, radius_m=RADIUS_M)
    square = position.square().sum(-1).mean().item()
    assert square == pytest.approx(5 * RADIUS_M**2 / 12, rel=0.01)
