import pytest
import torch

from isac_gym.core import ScenarioError, Streams, Transition
from tests.contracts.toy import ToyProblem, ToyProcess


def test_process__sizes_are_sums_of_blocks():
    process = ToyProcess(problem=ToyProblem())
    assert process.observation_size == 7
    assert process.local_observation_size == 2


def test_join__concatenates_the_agents():
    process = ToyProcess(problem=ToyProblem())
    local = torch.arange(6.0).reshape(2, 3, 1)
    assert process.join(local).tolist() == [[0, 1, 2], [3, 4, 5]]


def test_transition__is_plain_data():
    process = ToyProcess(problem=ToyProblem())
    streams = Streams.from_seed(0, 2)
    state = process.initial(streams)
    decision = process.decode(state, torch.zeros(2, 3))
    result = process.advance(state, decision, streams.at_step(1))
    assert isinstance(result, Transition)
    assert result.reward.shape == (2,)
    assert result.state.slot.tolist() == [1, 1]


@pytest.mark.parametrize("horizon", [0, -1, 2.0, True, "4"])
def test_process__refuses_a_horizon(horizon):
    with pytest.raises(ScenarioError, match="horizon must be an integer >= 1, got"):
        ToyProcess(problem=ToyProblem(), horizon=horizon)
