import pytest
import torch
from gymnasium.error import ResetNeeded

from isac_gym.core import Streams
from isac_gym.envs.lanes import Lanes
from tests.contracts.toy import ToyProblem, ToyProcess

ACTION = torch.full((4, 3), 0.2, dtype=torch.float64)


@pytest.fixture
def lanes():
    process = ToyProcess(problem=ToyProblem())
    lanes = Lanes(process, device=torch.device("cpu"), dtype=torch.float64)
    assert not lanes.is_started
    with pytest.raises(ResetNeeded):
        lanes.advance(ACTION)
    lanes.seed([5, 6, 7, 8])
    return lanes


def equal(first, second):
    tensors = dict(second.items())
    return all(torch.equal(t, tensors[name]) for name, t in first.items())


def test_advance__plays_step_k_with_the_streams_of_step_k(lanes):
    process, state, streams = lanes.process, lanes.state, Streams.from_seeds([5, 6, 7, 8])
    assert equal(state, process.initial(streams))
    for k in (1, 2):
        expected = process.advance(state, process.decode(state, ACTION), streams.at_step(k))
        change = lanes.advance(ACTION)
        assert torch.equal(change.reward, expected.reward)
        assert equal(lanes.state, expected.state)
        state = expected.state


def test_next_episode__moves_only_the_masked_lanes(lanes):
    lanes.advance(ACTION)
    before, mask = lanes.state, torch.tensor([False, True, False, True])
    rows = lanes.next_episode(mask)
    assert rows.tolist() == [1, 3]
    assert lanes.streams.episode.tolist() == [0, 1, 0, 1]
    assert lanes.streams.step.tolist() == [1, 0, 1, 0]
    fresh = lanes.process.initial(Streams.from_seeds([5, 6, 7, 8]).next_episode())
    assert equal(lanes.state, fresh.where(mask, before))


def test_seed__under_a_mask_keeps_the_other_lanes(lanes):
    lanes.next_episode()
    lanes.advance(ACTION)
    before, mask = lanes.state, torch.tensor([True, False, False, False])
    lanes.seed([70, 71, 72, 73], mask)
    assert lanes.streams.seed.tolist() == [70, 6, 7, 8]
    assert lanes.streams.episode.tolist() == [0, 1, 1, 1]
    assert lanes.streams.step.tolist() == [0, 1, 1, 1]
    fresh = lanes.process.initial(Streams.from_seeds([70, 71, 72, 73]))
    assert equal(lanes.state, fresh.where(mask, before))


def test_advance__holds_rows_still_and_moves_the_others_as_ever(lanes):
    process = lanes.process
    twin = Lanes(process, device=lanes.device, dtype=lanes.dtype)
    twin.seed([5, 6, 7, 8])
    before, held = lanes.state, torch.tensor([0, 2])
    change, free = lanes.advance(ACTION, held=held), twin.advance(ACTION)
    mask = torch.tensor([True, False, True, False])
    assert equal(lanes.state, before.where(mask, twin.state))
    assert lanes.streams.step.tolist() == [0, 1, 0, 1]
    assert change.reward[held].tolist() == [0, 0]
    assert torch.equal(change.reward[1::2], free.reward[1::2])
    assert not change.metrics.objective[held].any()
    twin_after, after = twin.advance(ACTION), lanes.advance(ACTION)
    assert torch.equal(after.reward[1::2], twin_after.reward[1::2])
    assert torch.equal(after.reward[held], free.reward[held])
