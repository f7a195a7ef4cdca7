import numpy as np
import pytest
import torch

from isac_gym.core import ScenarioError, Streams
from isac_gym.problems.power_control import FAMILY
from isac_gym.problems.power_control.tracking import posterior_std
from tests.oracles import dynamics

TRACKING = "isac/PowerControlTracking-v0"


def make(scenario="paper", **settings):
    return FAMILY.make_process(TRACKING, scenario, settings)


def step(process, state, streams, number, level=0.5):
    decision = process.decode(state, torch.full(state.power.shape, level))
    return process.advance(state, decision, streams.at_step(number))


@pytest.mark.parametrize(
    "setting", [{"reward_mode": "regret"}, {"local_reward_mode": "individual"}]
)
def test_init__refuses_rewards_it_does_not_have(setting):
    with pytest.raises(ScenarioError, match=next(iter(setting))):
        make(**setting)


def test_initial__filter_starts_at_the_truth_plus_prior_errors():
    process = make(prior_position_m=20.0, prior_velocity_mps=5.0)
    state = process.initial(Streams.from_seed(0, 4000))
    heading = state.heading_rad
    speed = 10 * torch.stack([heading.cos(), heading.sin()], -1)
    error = state.track_mean - torch.cat([state.instance.target[:, :2], speed], -1)
    np.testing.assert_allclose(error.std(0).numpy(), [20, 20, 5, 5], rtol=0.05)
    np.testing.assert_allclose(error.mean(0).numpy(), 0, atol=1.5)
    expected = torch.diag(torch.tensor([400.0, 400.0, 25.0, 25.0])).double()
    torch.testing.assert_close(state.track_covariance, expected.expand(4000, 4, 4))


@pytest.mark.parametrize("scenario", ["paper", "realistic"])
def test_advance__filter_is_the_textbook_one(scenario):
    process = make(scenario)
    streams = Streams.from_seed(3, 4)
    state = process.initial(streams)
    mean, covariance = state.track_mean.numpy(), state.track_covariance.numpy()
    for number in range(1, 16):
        result = step(process, state, streams, number)
        sigma = result.metrics.range_sigma_m.numpy()
        noise = streams.at_step(number).normal("range", 3).numpy()
        now, means, covariances = state.instance, [], []
        for row in range(4):
            bs, target = now.bs[row].numpy(), now.target[row].numpy()
            ranges = np.linalg.norm(target - bs, axis=1) + sigma[row] * noise[row]
            posterior = dynamics.ekf_update(
                mean[row], covariance[row], ranges, sigma[row], bs, float(target[2])
            )
            wanted = -np.log10(np.sqrt(np.trace(posterior[1][:2, :2])))
            assert float(result.objectives[row, 0]) == pytest.approx(wanted, rel=1e-7, abs=1e-9)
            informed = dynamics.information_update(
                mean[row], covariance[row], sigma[row], bs, float(target[2])
            )
            np.testing.assert_allclose(posterior[1], informed, rtol=1e-6, atol=1e-8)
            ahead = dynamics.ekf_predict(*posterior, 0.1, 3.0)
            means.append(ahead[0])
            covariances.append(ahead[1])
        mean, covariance = np.stack(means), np.stack(covariances)
        state = result.state
        np.testing.assert_allclose(state.track_mean.numpy(), mean, rtol=1e-7, atol=1e-7)
        np.testing.assert_allclose(state.track_covariance.numpy(), covariance, rtol=1e-7, atol=1e-7)


def test_reward__is_the_posterior_and_the_outage():
    process = make(scenario={"threshold_db": 5.0}, power_price=0.25)
    streams = Streams.from_seed(3, 6)
    result = step(process, process.initial(streams), streams, 1, -0.2)
    power = result.state.power.mean(-1)
    expected = result.objectives[:, 0] + result.objectives[:, 1] - 0.25 * power
    torch.testing.assert_close(result.reward, expected)
    assert (result.objectives[:, 1] < 0).any()


def test_reward__better_ranges_are_rewarded():
    process = make(scenario={"threshold_db": -30.0})
    streams = Streams.from_seed(3, 50)
    state = process.initial(streams)
    loud, soft = (step(process, state, streams, 1, level) for level in (0.9, -0.9))
    assert float((loud.objectives[:, 0] - soft.objectives[:, 0]).min()) >= 0


@pytest.mark.parametrize("scenario", ["paper", "realistic"])
def test_filter__is_consistent_where_its_model_holds(scenario):
    # heading noise of 0.03 rad is the filter's 3 m/s^2; no wall is within 40 slots of the middle
    process = make(scenario, heading_std_rad=0.03)
    streams = Streams.from_seed(5, 600)
    state = process.initial(streams)
    is_far = state.instance.target[:, :2].norm(dim=-1) < 45
    for number in range(1, 41):
        state = step(process, state, streams, number, 0.8).state
    error = (state.track_mean[:, :2] - state.instance.target[:, :2]).norm(dim=-1)[is_far]
    predicted = posterior_std(state)[is_far]
    assert len(error) > 100
    assert float((error < 3 * predicted).double().mean()) > 0.95
    assert 0.6 < float(error.square().mean() / predicted.square().mean()) < 1.5


def test_observe__shows_the_filter():
    process = make()
    state = process.initial(Streams.from_seed(5, 3))
    sizes = [block.size for block in process.observation_blocks]
    track, spread = process.observe(state).split(sizes, -1)[-2:]
    expected = (state.track_mean / torch.tensor([100.0, 100, 10, 10])).clamp(-5, 5).float()
    torch.testing.assert_close(track, expected)
    expected = torch.tensor([20.0, 20.0, 5.0, 5.0]).log10().expand(3, 4)
    torch.testing.assert_close(spread, expected)


def test_scene__has_the_estimate_and_its_ellipse():
    process = make()
    state = process.initial(Streams.from_seed(5, 3))
    scene = process.scene(state)
    estimate = {points.role: points.xy_m for points in scene.points}["estimate"]
    np.testing.assert_allclose(estimate, state.track_mean[:1, :2].numpy())
    np.testing.assert_allclose(scene.ellipses[0].covariance_m2, np.diag([400.0, 400.0]))
