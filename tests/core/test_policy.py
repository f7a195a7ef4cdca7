import torch

from isac_gym.core import Policy, PolicyContext, Streams
from tests.contracts.toy import ToyProblem, ToyProcess


class Idle:
    name = "idle"

    def act(self, observation, context):
        return torch.zeros(observation.shape[0], context.process.action_size)


def test_policy__is_structural():
    assert isinstance(Idle(), Policy)
    assert not isinstance(object(), Policy)


def test_policy_context__carries_process_and_state():
    process = ToyProcess(problem=ToyProblem())
    state = process.initial(Streams.from_seed(0, 2))
    context = PolicyContext(process, state, torch.ones(2, dtype=torch.bool))
    assert Idle().act(process.observe(state), context).shape == (2, 3)
