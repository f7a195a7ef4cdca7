"""Instances, networks and decisions for the tests of the certifier."""

from functools import cache

import torch

from baselines.convex.robust_beamforming import network_of
from isac_gym.core import Streams, family
from isac_gym.physics.worst_case import worst_case
from isac_gym.problems.robust_beamforming.model import RobustBeamformingDecision


@cache
def draw(count=1, *, seed=1, preset="small", **changes):
    """Problem and ``count`` instances; every preference is 0.5 unless it is changed."""
    fields = {"preset": preset, "preference": 0.5, "preference_spread": 0.0, **changes}
    setup = family("robust_beamforming").make_problem(fields)
    return setup, setup.sample(Streams.from_seed(seed, count))


def networks(instance):
    """Every lane in NumPy arrays."""
    return [network_of(instance, lane) for lane in range(instance.batch_size)]


def random_decision(setup, instance, *, seed=0, beam_share=0.5):
    """Random beams and sensing factors of full power."""
    noise = Streams.from_seed(seed, instance.batch_size)
    floor = setup.floor(instance)
    beam = 1e3 * beam_share**0.5 * noise.complex_normal("beam", *floor.beam.shape[1:])
    sensing = noise.complex_normal("sensing", *floor.sensing.shape[1:])
    sensing = 1e3 * (1 - beam_share) ** 0.5 * sensing
    return setup.project(instance, RobustBeamformingDecision(beam, sensing))


def matched(setup, instance, *, share=0.5):
    """The floor with another split of the power, and with less interference at high shares."""
    floor = setup.floor(instance)
    scaled = RobustBeamformingDecision(
        floor.beam * (2 * share) ** 0.5, floor.sensing * (2 - 2 * share) ** 0.5
    )
    return setup.project(instance, scaled)


def exact(setup, instance, decision):
    """Worst-case SINRs (B, I, K) and CRLBs (B,) as NumPy arrays."""
    covariance = setup.covariance(decision)
    sinr = worst_case(instance.channel, instance.radius, decision.beam, covariance).sinr
    return sinr.numpy(), setup.evaluate(instance, decision).crlb_m2.numpy()


def torch_beams(array):
    """NumPy array as a batch of one."""
    return torch.from_numpy(array)[None]
