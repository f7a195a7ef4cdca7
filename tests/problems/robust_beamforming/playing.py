"""Simple policies for the processes, and paired comparisons between them."""

import math

import torch

from isac_gym.core import Streams
from isac_gym.problems.robust_beamforming import FAMILY

STATIC, DYNAMIC = "isac/RobustBeamformingStatic-v0", "isac/RobustBeamforming-v0"


def make(environment=DYNAMIC, scenario="paper", **settings):
    return FAMILY.make_process(environment, scenario, settings)


def start(process, batch=4, *, seed=6):
    streams = Streams.from_seed(seed, batch)
    return process.initial(streams), streams


def blocks(process, state, value=0.0):
    """Actions per station, (B, I, size), all ``value``."""
    size = process.local_action_size
    return torch.full((state.batch_size, 3, size), float(value), dtype=torch.float64)


def random_action(process, batch, number=0):
    return 2 * Streams.from_seed(77, batch).at_step(number).uniform("a", process.action_size) - 1


def split_by_preference(process, state):
    """Full power, regularised zero forcing, the sensing share 1 - p; pilots by the rule."""
    action = blocks(process, state)
    action[..., 0] = (1 - 2 * state.measured.preference)[:, None]
    action[..., 1] = 1.0
    if process.horizon > 1:
        plain = process.problem.floor(state.measured)
        coded = process.encode(state, plain).unflatten(1, (3, -1))
        action[..., -1] = coded[..., -1]
    return process.decode(state, action.flatten(1))


def play(process, batch, slots, *, seed=7, policy=split_by_preference):
    """Rewards (B, slots), objectives (B, slots, 2), and the last state."""
    state, streams = start(process, batch, seed=seed)
    rewards, objectives = [], []
    for number in range(1, slots + 1):
        result = process.advance(state, policy(process, state), streams.at_step(number))
        rewards.append(result.reward)
        objectives.append(result.objectives)
        state = result.state
    return torch.stack(rewards, 1), torch.stack(objectives, 1), state


def interval(gain):
    """Mean and half width of the 95 % interval of paired gains (B,)."""
    return float(gain.mean()), 1.96 * float(gain.std()) / math.sqrt(len(gain))
