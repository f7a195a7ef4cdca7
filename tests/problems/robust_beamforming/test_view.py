import math

import numpy as np
import torch

from isac_gym.problems.robust_beamforming.geometry import norm
from tests.problems.robust_beamforming.playing import DYNAMIC, STATIC, make, play, start


def pieces(blocks, row):
    """Entries of an observation by the name of their block."""
    found, column = {}, 0
    for block in blocks:
        found[block.name] = row[column : column + block.size]
        column += block.size
    assert column == len(row)
    return found


def test_observe__holds_what_the_blocks_say():
    process = make(DYNAMIC, "two-users", prices=True)
    _, _, state = play(process, 4, 3)
    seen, m = process.observe(state), process.measured(state)
    for row in (0, 3):
        found = pieces(process.observation_blocks, seen[row].double())
        size = norm(m.channel[row])
        unit = m.channel[row] / size[..., None]
        both = torch.stack([unit.real, unit.imag], 1).flatten()
        away = (m.target[row][None] - m.bs[row][:, None]).square().sum(-1).sqrt()
        variance = state.covariance[row].reshape(8, 8).diagonal().reshape(2, 4)[:, :2].T
        expected = {
            "channel": both,
            "strength": size.square().log10().flatten() / 3,
            "radius": (m.radius[row] / size).flatten(),
            "sine": m.angle[row].flatten() / math.pi,
            "range": away.flatten() / 100,
            "preference": m.preference[row : row + 1],
            "age": state.age[row] / 10,
            "energy": torch.ones(3),
            "spread": variance.flatten().log10() / 2,
            "time": torch.tensor([3 / 50]),
            "price": state.price[row].flatten(),
        }
        assert list(found) == [block.name for block in process.observation_blocks]
        assert set(found) == set(expected)
        for name, value in expected.items():
            wanted = value.double().clamp(-5, 5)
            torch.testing.assert_close(found[name], wanted, rtol=1e-5, atol=1e-5, msg=name)


def test_observe_local__is_the_own_part_of_the_joint():
    process = make(DYNAMIC, "two-users", prices=True)
    _, _, state = play(process, 2, 2)
    joint = pieces(process.observation_blocks, process.observe(state)[1])
    local = process.observe_local(state)[1]
    for cell in range(3):
        found = pieces(process.local_observation_blocks, local[cell])
        for name in ("preference", "spread", "time", "price"):
            assert torch.equal(found[name], joint[name])
        for name in ("channel", "strength", "radius", "sine", "range", "age", "energy"):
            assert torch.equal(found[name], joint[name].reshape(3, -1)[cell]), name
        assert found["identity"].tolist() == [float(cell == other) for other in range(3)]


def test_observe__static_has_nothing_that_moves():
    names = [block.name for block in make(STATIC).observation_blocks]
    assert names == ["channel", "strength", "radius", "sine", "range", "preference"]


def test_observe__survives_useless_estimates():
    process = make(DYNAMIC)
    state, _ = start(process, 2)
    nothing = state.measured.replace(channel=0 * state.measured.channel)
    for view in (process.observe, process.observe_local):
        assert torch.isfinite(view(state.replace(measured=nothing))).all()


def test_scene__shows_the_network():
    process = make(DYNAMIC, "two-users")
    _, objectives, state = play(process, 2, 3)
    scene = process.scene(state)
    assert "slot 3" in scene.title
    places = {points.role: points.xy_m for points in scene.points}
    np.testing.assert_allclose(places["base_station"], state.instance.bs[0])
    np.testing.assert_allclose(places["user"], state.instance.user[0].reshape(6, 2))
    np.testing.assert_allclose(places["target"], state.instance.target[0])
    np.testing.assert_allclose(places["estimate"], state.measured.target[0])
    assert len(scene.ellipses) == 2
    np.testing.assert_allclose(scene.ellipses[1].covariance_m2, state.covariance[0, 1, :2, 1, :2])
    power, rate, error = (bars.values for bars in scene.bars)
    np.testing.assert_allclose(power, state.power_w[0])
    assert (power <= scene.bars[0].limits).all()
    assert rate.shape == (6,)
    assert error.shape == (2,)
    assert (error > 0).all()
    assert objectives.shape == (2, 3, 2)


def test_scene__static_before_and_after():
    process = make(STATIC)
    state, streams = start(process, 2)
    floor = process.problem.floor(state.measured)
    after = process.advance(state, floor, streams.at_step(1)).state
    for each in (state, after):
        assert not process.scene(each).ellipses
    np.testing.assert_allclose(process.scene(after).bars[0].values, [10, 10, 10])
