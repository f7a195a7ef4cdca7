"""Problems, instances and decisions for the tests of recovery and design."""

import torch

from isac_gym.core import Streams
from isac_gym.problems.multi_user_imaging.design import ImagingDesign, ProbingDecision
from isac_gym.problems.multi_user_imaging.recovery import (
    ImagingRecovery,
    ImagingRecoveryDecision,
)
from isac_gym.problems.multi_user_imaging.scenario import DesignScenario, RecoveryScenario


def make_recovery(preset="small", **changes):
    return ImagingRecovery(scenario=RecoveryScenario.preset(preset, **changes))


def make_design(preset="small", **changes):
    return ImagingDesign(scenario=DesignScenario.preset(preset, **changes))


def draw(problem, batch=4, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def guess(instance, *, size=0.7, seed=8):
    """Estimates near the truth: the image of each user is off by Gaussian entries."""
    streams = Streams.from_seed(seed, instance.batch_size)
    off = size * streams.complex_normal("off", *instance.user_channel.shape[1:])
    scalars = streams.integers("scalars", high=10_000)
    return ImagingRecoveryDecision(instance.image[:, None] + off, scalars)


def probing(instance, *, share=0.5, size=1.0, columns=None, seed=8):
    """Random probe and a random beam of ``share`` of the power ``size`` times the budget."""
    streams, count = Streams.from_seed(seed, instance.batch_size), instance.comm_channel.shape[-1]
    probe = streams.complex_normal("probe", count, columns or count)
    beam = streams.complex_normal("beam", count)
    power = size * instance.max_power_w
    probe = probe * ((1 - share) * power / energy(probe)).sqrt()[:, None, None]
    return ProbingDecision(probe, beam * (share * power / energy(beam)).sqrt()[:, None])


def energy(tensor):
    """Sum of squared moduli of each lane, (B,)."""
    return tensor.abs().square().flatten(1).sum(-1)


def set_at(tensor, value, where=(-1,)):
    """A copy with one entry (or row) replaced."""
    changed = tensor.clone()
    changed[where] = value
    return changed


def single(record):
    """The record in single precision."""
    return record.to(dtype=torch.float32)
