import pytest
import torch

from baselines.subcarrier_selection.scripted import (
    AvoidExpected,
    AvoidKnown,
    AvoidSeen,
    GreedyBuilder,
    RandomEachFrame,
    StaticMask,
    StickyClairvoyant,
    forward_mask,
    tracking_ladder,
)
from isac_gym.core import ScenarioError, Streams, family_of
from isac_gym.core.policy import Policy, PolicyContext

TRACKING, BUILDING = "isac/SubcarrierSelection-v0", "isac/SubcarrierSelectionStatic-v0"


def make(environment=TRACKING, scenario="tiny-8", **settings):
    return family_of(environment).make_process(environment, scenario, settings)


def act(policy, process, state, *, begun=False):
    reset = torch.full((state.batch_size,), begun)
    return policy.act(process.observe(state), PolicyContext(process, state, reset))


def play(process, policy, frames, *, lanes=4, seed=9, dtype=torch.float64):
    """States before each frame, masks and transitions."""
    streams = Streams.from_seed(seed, lanes)
    state, played = process.initial(streams).to(dtype=dtype), []
    for number in range(frames):
        decision = process.decode(state, act(policy, process, state, begun=number == 0))
        result = process.advance(state, decision, streams.at_step(number + 1))
        played.append((state, decision.mask, result))
        state = result.state
    return played


def cost(process, policy, frames, **course):
    """Mean cost per frame of each lane, (B,)."""
    played = play(process, policy, frames, dtype=torch.float32, **course)
    rewards = [result.reward for _, _, result in played]
    return 1 - torch.stack(rewards).mean(0)


def naive_forward(problem, known):
    """The same greedy, one mask at a time."""
    s, chosen, best = problem.scenario, None, torch.inf
    mask = torch.zeros(s.num_tones, dtype=torch.bool)
    for count in range(1, s.max_tones + 1):
        tried = []
        for tone in range(s.num_tones):
            more = mask.clone()
            more[tone] = True
            error = problem.mask_errors(known, more[None, None]).mean()
            tried.append(torch.inf if mask[tone] else float(error))
        least = min(tried)
        mask[tried.index(least)] = True
        if count >= s.min_tones and least < best:
            chosen, best = mask.clone(), least
    return chosen


def test_forward_mask__greedy_one_tone_at_a_time():
    process = make()
    state = process.initial(Streams.from_seed(2, 5))
    known = process.measured(state)
    found = forward_mask(process.problem, known)
    for lane in range(5):
        wanted = naive_forward(process.problem, known[lane : lane + 1])
        assert torch.equal(found[lane], wanted)


@pytest.mark.parametrize("policy", [*tracking_ladder(), AvoidSeen(memory=2)], ids=lambda p: p.name)
def test_ladder__policies_play_allowed_masks(policy):
    assert isinstance(policy, Policy)
    process = make()
    for state, mask, _ in play(process, policy, 3):
        assert ((mask.sum(-1) >= 3) & (mask.sum(-1) <= 4)).all()
        assert torch.equal(process.decode(state, act(policy, process, state)).mask, mask)


def test_ladder__names_differ():
    names = [policy.name for policy in tracking_ladder()]
    assert len(set(names)) == len(names) == 8


def test_ladder__knowledge_pays():
    """Each step up by more than twice its standard error over paired rooms."""
    process = make("isac/SubcarrierSelection-v0", "tracking")
    costs = {
        policy.name: cost(process, policy, 6, lanes=8)
        for policy in (StaticMask(noise="expected"), AvoidSeen(), AvoidKnown())
    }
    static, seen, known = costs.values()
    for gain in (static - seen, seen - known):
        assert float(gain.mean()) > 2 * float(gain.std()) / len(gain) ** 0.5


@pytest.mark.parametrize(
    ("policy", "is_genie"),
    [
        (RandomEachFrame(), False),
        (StaticMask(), False),
        (StaticMask(noise="expected"), False),
        (AvoidSeen(), False),
        (AvoidExpected(), False),
        (AvoidKnown(), True),
        (StickyClairvoyant(), True),
    ],
    ids=lambda p: getattr(p, "name", p),
)
def test_ladder__only_genies_know_the_bands(policy, is_genie):
    process = make("isac/SubcarrierSelection-v0", "tracking")
    state = play(process, RandomEachFrame(), 3)[-1][2].state
    moved = state.replace(noise=state.noise.flip(-1), place=state.place.flip(-1))
    masks = [
        process.decode(state, act(policy, process, each, begun=True)).mask
        for each in (state, moved)
    ]
    assert torch.equal(*masks) != is_genie


@pytest.mark.parametrize("policy", tracking_ladder(), ids=lambda p: p.name)
def test_ladder__nobody_sees_the_scored_windows(policy):
    process = make()
    state = play(process, RandomEachFrame(), 2)[-1][2].state
    i = state.instance
    other = state.replace(
        pool=-state.pool, instance=i.replace(score=-i.score, score_label=-i.score_label)
    )
    masks = [act(policy, process, each, begun=True) for each in (state, other)]
    assert torch.equal(*masks)


def test_static__is_planned_once_per_episode_and_lane():
    process, policy = make(), StaticMask()
    played = play(process, policy, 3)
    assert all(torch.equal(mask, played[0][1]) for _, mask, _ in played)
    fresh = process.initial(Streams.from_seed(77, 4))
    begun = torch.tensor([True, False, False, True])
    mixed = fresh.where(begun, played[-1][2].state)
    context = PolicyContext(process, mixed, begun)
    mask = process.decode(mixed, policy.act(process.observe(mixed), context)).mask
    alone = process.decode(fresh, act(StaticMask(), process, fresh, begun=True)).mask
    assert torch.equal(mask, torch.where(begun[:, None], alone, played[0][1]))


def test_avoid_seen__forgets_after_its_memory():
    process = make("isac/SubcarrierSelection-v0", "tracking")
    state = process.initial(Streams.from_seed(3, 6))
    clean = act(AvoidSeen(), process, state)
    noisy = state.replace(
        seen=torch.full_like(state.seen, 10.0) * (clean > 0), age=torch.full_like(state.age, 5)
    )
    assert torch.equal(act(AvoidSeen(memory=4), process, noisy), clean)
    assert not torch.equal(act(AvoidSeen(memory=5), process, noisy), clean)
    assert not torch.equal(act(AvoidSeen(), process, noisy), clean)


def test_sticky__changes_less_and_nothing_where_changes_cost_too_much():
    settings = {"switching_cost": 1.0, "level_db": -30.0}
    process = make("isac/SubcarrierSelection-v0", "tracking", **settings)
    sticky = play(process, StickyClairvoyant(), 3)
    assert all(torch.equal(mask, sticky[0][1]) for _, mask, _ in sticky)
    free = make("isac/SubcarrierSelection-v0", "tracking", switching_cost=0.0)
    state = play(free, StickyClairvoyant(), 1)[-1][2].state
    known = free.problem.known(free.truth(state))
    planned = [
        free.decode(state, act(policy, free, state)).mask[:, None]
        for policy in (StickyClairvoyant(), AvoidKnown())
    ]
    errors = [free.problem.mask_errors(known, mask).mean((1, 2)) for mask in planned]
    assert (errors[0] <= errors[1] + 1e-12).all()


def test_random__other_masks_in_other_frames():
    played = play(make(), RandomEachFrame(), 6)
    assert len({mask.int().numpy().tobytes() for _, mask, _ in played}) > 4


def test_greedy_builder__follows_the_best_single_step():
    process = make(BUILDING, horizon=5)
    streams = Streams.from_seed(4, 3)
    state = process.initial(streams)
    problem, known = process.problem, process.measured(state)
    for number in range(1, 6):
        decision = process.decode(state, act(GreedyBuilder(), process, state))
        each = torch.eye(8, dtype=torch.bool)
        tried = problem.mask_errors(known, state.built[:, None] | each).mean(-1)
        tried = tried.masked_fill(state.built, torch.inf)
        now = problem.mask_errors(known, state.built[:, None]).mean((1, 2))
        count = state.built.sum(-1)
        for lane in range(3):
            added = (decision.built & ~state.built)[lane].nonzero()[:, 0].tolist()
            is_over = count[lane] >= 4 or (count[lane] >= 3 and tried[lane].min() >= now[lane])
            wanted = [] if is_over or state.stopped[lane] else [int(tried[lane].argmin())]
            assert added == wanted
        state = process.advance(state, decision, streams.at_step(number)).state


def test_policies__refuse_another_process_and_settings():
    tracking, building = make(), make(BUILDING)
    state = building.initial(Streams.from_seed(0, 1))
    with pytest.raises(ScenarioError, match="process must be a MaskTracking for avoid seen"):
        act(AvoidSeen(), building, state)
    state = tracking.initial(Streams.from_seed(0, 1))
    with pytest.raises(ScenarioError, match="process must be a MaskBuilding"):
        act(GreedyBuilder(), tracking, state)
    with pytest.raises(ScenarioError, match="noise must be"):
        StaticMask(noise="loud")
    with pytest.raises(ScenarioError, match="memory must be"):
        AvoidSeen(memory=0)
