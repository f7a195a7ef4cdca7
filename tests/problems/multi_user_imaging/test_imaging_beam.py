import pytest
import torch

from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.physics.imaging import user_gram
from isac_gym.problems.multi_user_imaging.probing_actions import closed_form, error_covariance
from isac_gym.testing import check_process

ID = "isac/ImagingBeam-v0"


def make(scenario="paper", **settings):
    return family_of(ID).make_process(ID, scenario, settings)


def play(process, action, lanes=8):
    streams = Streams.from_seed(7, lanes)
    state = process.initial(streams)
    decision = process.decode(state, action(state) if callable(action) else action)
    return state, process.advance(state, decision, streams.at_step(1))


@pytest.mark.parametrize("preset", ["small", "joint"])
@pytest.mark.parametrize("mode", ["eigen", "factor"])
def test_conformance(preset, mode):
    check_process(make(preset, action_mode=mode))


def test_reward__is_the_optimum_over_the_bound_and_never_above_1():
    process = make(action_mode="factor")
    state, result = play(process, torch.zeros(8, process.action_size))
    torch.testing.assert_close(result.reward * result.metrics.error_bound, state.best)
    assert (result.reward <= 1).all()
    assert (result.metrics.violation < 1e-9).all()
    assert result.reward.mean() < 0.75  # equal power is not good


@pytest.mark.parametrize("preset", ["small", "joint"])
@pytest.mark.parametrize(("probe", "beam"), [(100.0, 100.0), (1.0, 0.0), (50.0, 1.0)])
def test_advance__sends_only_what_power_and_sinr_allow(preset, probe, beam):
    process, streams = make(preset), Streams.from_seed(7, 8)
    problem, state = process.problem, process.initial(streams)
    fair = process.decode(state, torch.zeros(8, process.action_size))
    asked = fair.replace(probe=probe * fair.probe, beam=beam * fair.beam)
    result = process.advance(state, asked, streams.at_step(1))
    wanted = problem.evaluate(state.instance, asked)
    torch.testing.assert_close(result.metrics.violation, wanted.violation, rtol=0, atol=0)
    sent = problem.project(state.instance, asked)
    honest = process.advance(state, sent, streams.at_step(1))
    torch.testing.assert_close(result.reward, honest.reward)
    torch.testing.assert_close(result.state.lit, honest.state.lit)
    assert (result.reward <= 1).all()


def test_reward__is_at_most_1_where_the_bound_is_loose():
    process, streams = make("small"), Streams.from_seed(7, 8)
    state = process.initial(streams)
    fair = process.decode(state, torch.zeros(8, process.action_size))
    loose = state.replace(best=10 * state.best)
    result = process.advance(loose, fair, streams.at_step(1))
    assert (result.reward == 1).all()


def test_expansion__matches_differences_of_the_bound():
    process = make("small")
    streams = Streams.from_seed(7, 3)
    state = process.initial(streams)
    i, s = state.instance, process.problem.scenario
    form, gram = closed_form(process.problem, i), user_gram(i.user_channel)
    scale = (form.room * s.num_samples / s.noise_w).sqrt()[:, None, None]
    channel = scale * (i.bs_channel @ form.narrow @ state.basis)

    def bound(shares):
        covariance = torch.diag_embed(shares).to(channel.dtype).expand(3, -1, -1)
        left = error_covariance(channel, gram, i.precision, covariance)
        return torch.diagonal(left, dim1=-2, dim2=-1).real.sum(-1)

    even = torch.full((4,), 0.25, dtype=torch.float64)
    torch.testing.assert_close(bound(even), state.even)
    step = 1e-4
    for index in range(4):
        move = torch.zeros(4, dtype=torch.float64)
        move[index] = step
        up, down = bound(even + move), bound(even - move)
        slope, bend = (down - up) / (2 * step), (up + down - 2 * state.even) / step**2
        torch.testing.assert_close(slope / state.even, state.slope[:, index], rtol=1e-5, atol=0)
        own = state.bend[:, index, index]
        torch.testing.assert_close(bend / state.even, own, rtol=1e-4, atol=0)


def test_basis__shares_reach_98_percent():
    """Multiplicative updates of the shares alone, of the state's basis."""
    process = make()
    streams = Streams.from_seed(7, 8)
    state = process.initial(streams)
    i, s = state.instance, process.problem.scenario
    form, gram = closed_form(process.problem, i), user_gram(i.user_channel)
    scale = (form.room * s.num_samples / s.noise_w).sqrt()[:, None, None]
    channel = scale * (i.bs_channel @ form.narrow @ state.basis)
    share = torch.full((8, 16), 1 / 16, dtype=torch.float64)
    for _ in range(60):
        left = error_covariance(channel, gram, i.precision, torch.diag_embed(share).to(gram.dtype))
        weighted = (left @ left).conj() * gram
        slope = (channel.conj() * (weighted @ channel)).real.sum(-2)
        share = share * slope.sqrt()
        share = share / share.sum(-1, keepdim=True)
    action = (1 + (share / share.amax(-1, keepdim=True)).clamp_min(1e-9).log() / 5).clamp(-1, 1)
    result = process.advance(state, process.decode(state, action), streams.at_step(1))
    assert result.reward.mean() > 0.975


@pytest.mark.parametrize("settings", [{"action_mode": "mix"}, {"horizon": 2}])
def test_settings__bad_ones_are_refused(settings):
    with pytest.raises(ScenarioError, match=next(iter(settings))):
        make(**settings)
