import pytest
import torch

from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.testing import ENV_CHECKS, EnvCase, check_process

ID = "isac/SubcarrierSelection-v0"


def make(scenario="tiny-8", **settings):
    return family_of(ID).make_process(ID, scenario, settings)


def start(process, lanes=4, *, seed=5):
    streams = Streams.from_seed(seed, lanes)
    return process.initial(streams), streams


def masks(process, lanes, *, seed=1):
    """Random masks with as many tones as allowed, (lanes, S) bool."""
    s = process.problem.scenario
    rank = Streams.from_seed(seed, lanes).uniform("mask", s.num_tones).argsort(-1).argsort(-1)
    return rank < s.max_tones


def play(process, frames, lanes=4, *, seed=5):
    """States before each frame, decisions and transitions of random masks."""
    state, streams = start(process, lanes, seed=seed)
    played = []
    for number in range(1, frames + 1):
        decision = SubcarrierDecision(masks(process, lanes, seed=number))
        result = process.advance(state, decision, streams.at_step(number))
        played.append((state, decision, result))
        state = result.state
    return played


@pytest.mark.parametrize(
    "settings",
    [{}, {"local_reward_mode": "difference", "level_std_db": 3.0}, {"band_share": 1.0}],
    ids=["default", "difference", "everywhere"],
)
def test_process__conforms(settings):
    check_process(make(horizon=5, **settings))


@pytest.mark.slow
def test_process__conforms_in_its_own_preset():
    check_process(make("tracking", horizon=9))


def test_parallel_env__agrees_with_difference_rewards():
    settings = {"horizon": 6, "local_reward_mode": "difference"}
    ENV_CHECKS["parallel_agrees"](EnvCase(ID, "tiny-8", settings))


def test_reward__is_what_is_explained_less_the_price_of_changes():
    process = make(switching_cost=0.02)
    last = None
    for _, decision, result in play(process, 5):
        changed = 0 if last is None else (decision.mask ^ last).sum(-1)
        price = 0.02 / 2 * changed
        error = (result.metrics.error_location + result.metrics.error_sensing) / 2
        torch.testing.assert_close(result.reward, 1 - error - price)
        whole = result.objectives[:, :2].mean(-1) + result.objectives[:, 2]
        torch.testing.assert_close(result.reward, whole)
        torch.testing.assert_close(result.local_reward, result.reward[:, None].expand(-1, 2))
        last = decision.mask


def test_reward__is_of_order_one():
    rewards = torch.stack([result.reward for _, _, result in play(make("tracking"), 6, 12)])
    assert float(rewards.abs().max()) < 2
    assert float(rewards.std()) > 0.02


def test_frames__are_the_same_whatever_is_decided():
    process = make()
    state, streams = start(process)
    other = state
    floor = process.problem.floor(state.instance)
    for number in range(1, 5):
        there = streams.at_step(number)
        decision = SubcarrierDecision(masks(process, 4, seed=number))
        state = process.advance(state, decision, there).state
        other = process.advance(other, floor, there).state
        assert torch.equal(state.instance.score, other.instance.score)
        assert torch.equal(state.noise, other.noise)


def test_frames__are_windows_of_the_pool_with_noise_under_the_bands_only():
    process = make("tracking")
    s = process.problem.scenario
    for state, _, _ in play(process, 4):
        hit = state.noise > 0
        null = s.null.repeat(s.num_links)
        assert not hit[:, null].any()
        assert (hit.sum(-1) >= 2 * (3 - 1)).all()  # a band of 3 covers one null tone at most
        torch.testing.assert_close(state.noise[hit], torch.full_like(state.noise[hit], 10.0))
        assert (state.instance.score.abs() <= 5).all()
        for lane in range(2):
            quiet = ~hit[lane]
            frame = state.instance.score[lane][:, quiet].flatten(1)
            pool = state.pool[lane][:, quiet].flatten(1)
            apart = (frame[:, None] - pool).abs().amax(-1)
            row = apart.argmin(-1)
            assert (apart.amin(-1) == 0).all()
            assert torch.equal(state.pool_label[lane][row], state.instance.score_label[lane])
            added = (state.instance.score[lane] - state.pool[lane][row])[:, hit[lane]]
            assert 1.5 < float(added.std()) < 10**0.5  # less than 10 dB by the clipping


def test_observation__only_acquired_tones_show_their_noise():
    process = make("tracking")
    for before, decision, result in play(process, 4):
        after = result.state
        assert torch.equal(after.seen[decision.mask], before.noise[decision.mask])
        assert torch.equal(after.seen[~decision.mask], before.seen[~decision.mask])
        assert (after.age[decision.mask] == 0).all()
        assert torch.equal(
            after.age[~decision.mask], (before.age + 1).clamp_max(64)[~decision.mask]
        )


def test_observation__and_plans_do_not_know_the_coming_frame():
    process = make("tracking")
    state, _ = start(process)
    state = play(process, 3)[-1][2].state
    secret = state.replace(
        noise=state.noise.flip(-1) + 1,
        place=state.place.flip(-1),
        level_db=state.level_db + 3,
        pool=-state.pool,
        instance=state.instance.replace(
            score=-state.instance.score, score_label=-state.instance.score_label
        ),
    )
    assert torch.equal(process.observe(state), process.observe(secret))
    assert torch.equal(process.observe_local(state), process.observe_local(secret))
    for name, tensor in process.measured(state).items():
        assert torch.equal(tensor, getattr(process.measured(secret), name))


def test_truth__is_the_frame_exactly_and_its_rehearsal_is_drawn_apart():
    process = make("tracking")
    for state, decision, result in play(process, 3):
        truth = process.truth(state)
        again = process.problem.evaluate(truth, decision)
        torch.testing.assert_close(again.error, result.metrics.error, rtol=0, atol=1e-12)
        hit = state.noise > 0
        assert torch.equal(truth.val.movedim(2, 1)[~hit], state.instance.val.movedim(2, 1)[~hit])
        assert not torch.equal(truth.val, truth.score)


def test_difference_reward__is_the_loss_without_a_link():
    process = make(local_reward_mode="difference", switching_cost=0.01)
    last = None
    for state, decision, result in play(process, 4):
        for link in range(2):
            own = slice(4 * link, 4 * link + 4)
            without = decision.mask.clone()
            without[:, own] = False
            error = process.problem.evaluate(state.instance, SubcarrierDecision(without)).error
            changed = 0 if last is None else (decision.mask ^ last)[:, own].sum(-1)
            wanted = error - result.metrics.error - 0.01 / 2 * changed
            torch.testing.assert_close(result.local_reward[:, link], wanted)
        last = decision.mask


def test_local_observation__own_tones_and_what_all_know():
    process = make("tracking")
    state = play(process, 3)[-1][2].state
    joint, local = process.observe(state), process.observe_local(state)
    tones, links = 8, 2
    first = here = 0
    for block, own in zip(
        process.observation_blocks, process.local_observation_blocks, strict=False
    ):
        whole = joint[:, first : first + block.size]
        for link in range(links):
            mine = local[:, link, here : here + own.size]
            wanted = whole
            if block.name not in ("error", "time"):
                each = whole.unflatten(1, (links, tones, -1))
                wanted = each[:, link].flatten(1)
            assert torch.equal(mine, wanted), block.name
        first, here = first + block.size, here + own.size
    assert torch.equal(local[:, :, here:], torch.eye(2).expand(4, -1, -1))


def test_join__bids_share_the_most_allowed():
    process = make("tracking")
    state, _ = start(process, 3)
    local = torch.ones(3, 2, 9)
    local[0, :, -1] = 0
    local[1, 0, -1], local[1, 1, -1] = 1, -1
    local[2, 0, :-1] = -1  # the first link wants nothing, equal bids
    mask = process.decode(state, process.join(local)).mask.unflatten(1, (2, 8)).sum(-1)
    assert mask.tolist() == [[4, 4], [7, 1], [2, 4]]  # at least 6 in all


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("band_share", 1.5),
        ("level_db", 80.0),
        ("level_std_db", -1.0),
        ("level_correlation", 2.0),
        ("walk_probability", -0.1),
        ("jump_probability", 1.1),
        ("switching_cost", float("nan")),
        ("local_reward_mode", "selfish"),
    ],
)
def test_settings__are_refused_by_name(name, value):
    with pytest.raises(ScenarioError, match=f"{name} must be"):
        make(**{name: value})
