import math

import numpy as np
import pytest
import torch

from isac_gym.core import Streams
from isac_gym.problems.power_control import FAMILY, view
from tests.problems.observation_statistics import log_statistics

DYNAMIC, ENERGY = "isac/PowerControl-v0", "isac/PowerControlEnergy-v0"


def make(environment=DYNAMIC, scenario="paper", **settings):
    return FAMILY.make_process(environment, scenario, settings)


def blocks(process, observation, *, local=False):
    """Observation entries by block name, on the last axis."""
    layout = process.local_observation_blocks if local else process.observation_blocks
    sizes = [block.size for block in layout]
    parts = observation.double().split(sizes, -1)
    return {block.name: part for block, part in zip(layout, parts, strict=True)}


@pytest.fixture
def played():
    """A process after two slots, and the result of the second."""
    process = make(scenario={"threshold_db": 2.0}, horizon=10)
    streams = Streams.from_seed(4, 5)
    state = process.initial(streams)
    for number, level in ((1, 0.9), (2, 0.6)):
        decision = process.decode(state, torch.full((5, 3), level))
        result = process.advance(state, decision, streams.at_step(number))
        state = result.state
    return process, result


def near(seen, wanted):
    torch.testing.assert_close(seen, wanted.double(), rtol=0, atol=2e-6)  # float32


def to_db(x):
    return 10 * x.log10()


def test_observe__sinrs_are_those_of_the_last_slot(played):
    process, result = played
    seen, metrics = blocks(process, process.observe(result.state)), result.metrics
    near(seen["sensing"], (to_db(metrics.sensing_sinr) + 30) / 15)
    near(seen["communication"], (to_db(metrics.comm_sinr) - 2.0) / 10)
    near(seen["power"], to_db(result.state.power) / 20 + 1)
    near(seen["time"], torch.full((5, 1), 0.2))
    near(seen["threshold"], torch.full((5, 3), 0.2))


def test_observe__network_is_that_of_the_last_slot(played):
    process, result = played
    seen = blocks(process, process.observe(result.state))
    network = process.problem.network(process.measured(result.state))
    off = ~torch.eye(3, dtype=torch.bool)
    for name, tensor in network._asdict().items():
        mean, deviation = view._LOG_STATISTICS[name]
        tensor = tensor[:, off] if tensor.ndim == 3 else tensor
        near(seen[name], (tensor.log10() - mean) / deviation)


def test_observe__is_roughly_standard_normal_at_reset():
    process = make()
    seen = blocks(process, process.observe(process.initial(Streams.from_seed(77, 3000))))
    for name in ("coupling", "noise", "comm_coupling", "comm_noise"):
        assert abs(float(seen[name].mean())) < 0.1, name
        assert 0.9 < float(seen[name].std()) < 1.1, name
    for name in ("sensing", "communication"):
        assert abs(float(seen[name].mean())) < 1, name
        assert 0.3 < float(seen[name].std()) < 1.5, name


def test_observe__nothing_is_clipped_often():
    process = make()
    observation = process.observe(process.initial(Streams.from_seed(78, 3000)))
    assert float((observation.abs() >= 5).double().mean()) < 1e-3


def test_observe__no_threshold_is_finite():
    process = make(scenario={"threshold_db": -math.inf})
    observation = process.observe(process.initial(Streams.from_seed(4, 2)))
    assert torch.isfinite(observation).all()
    near(blocks(process, observation)["threshold"], torch.full((2, 3), -5.0))


def test_observe_local__columns(played):
    process, result = played
    state, metrics = result.state, result.metrics
    seen = blocks(process, process.observe_local(state), local=True)
    near(seen["sensing"][..., 0], (to_db(metrics.sensing_sinr) + 30) / 15)
    near(seen["communication"][..., 0], (to_db(metrics.comm_sinr) - 2.0) / 10)
    near(seen["power"][..., 0], to_db(state.power) / 20 + 1)
    near(seen["peak"][..., 0], (to_db(state.power) / 20 + 1).amax(-1, keepdim=True).expand(-1, 3))
    near(seen["identity"], torch.eye(3).expand(5, 3, 3))
    near(seen["time"][..., 0], torch.full((5, 3), 0.2))


def test_observe_local__interference_comes_from_the_own_measurements(played):
    process, result = played
    state, m, metrics = result.state, result.state.measured, result.metrics
    seen = blocks(process, process.observe_local(state), local=True)
    own = torch.diagonal(m.bs_echo_gain, dim1=1, dim2=2) * m.max_power_w
    at_bs = own * state.power / metrics.sensing_sinr / m.bs_noise_w  # interference over noise
    near(seen["heard_at_bs"][..., 0], to_db(at_bs) / 20 - 1)
    near(seen["echo"][..., 0], (to_db(own / m.bs_noise_w) / 20).clamp(-5, 5))
    link = torch.diagonal(m.comm_gain + m.ue_echo_gain, dim1=1, dim2=2) * m.max_power_w
    at_user = link * state.power / metrics.comm_sinr / m.ue_noise_w
    near(seen["heard_at_user"][..., 0], to_db(at_user) / 20 - 1)


def test_observe_local__peak_can_be_switched_off():
    process = make(share_peak=False)
    seen = blocks(
        process, process.observe_local(process.initial(Streams.from_seed(4, 2))), local=True
    )
    assert (seen["peak"] == 0).all()


def test_observe__energy_block():
    process = make(ENERGY)
    state = process.initial(Streams.from_seed(4, 2))
    near(blocks(process, process.observe(state))["energy"], torch.ones(2, 3))
    near(blocks(process, process.observe_local(state), local=True)["energy"], torch.ones(2, 3, 1))
    half = state.replace(energy=state.energy / 2)
    near(blocks(process, process.observe(half))["energy"], torch.full((2, 3), 0.5))


def test_agents__are_the_stations():
    process = make(scenario="dense-7")
    assert process.agents == tuple(f"bs_{k}" for k in range(7))
    assert (process.action_size, process.local_action_size) == (7, 1)


def test_scene__shows_the_first_row(played):
    process, result = played
    scene = process.scene(result.state)
    by_label = {points.label: points.xy_m for points in scene.points}
    np.testing.assert_allclose(by_label["target"], result.state.instance.target[:1, :2].numpy())
    bars = {bars.title: bars for bars in scene.bars}
    np.testing.assert_allclose(
        bars["power over cap"].values, to_db(result.state.power[0]).numpy(), rtol=1e-9
    )
    assert (np.linalg.norm(scene.outline_m, axis=1) - 100 < 1e-4).all()
    assert (np.linalg.eigvalsh(scene.ellipses[0].covariance_m2) > 0).all()


@pytest.mark.slow
def test_log_statistics__are_those_in_the_package():
    for name, (mean, deviation) in log_statistics().items():
        assert view._LOG_STATISTICS[name] == (
            pytest.approx(mean, abs=6e-4),
            pytest.approx(deviation, abs=6e-4),
        )
