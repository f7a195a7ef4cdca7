"""Frames and paired errors shared by the tests of central recovery."""

from dataclasses import replace

import torch

from isac_gym.core.random import Streams
from isac_gym.problems.multi_user_imaging.recovery import ImagingRecovery
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario

IMAGE = ImagingRecovery(scenario=RecoveryScenario.preset("image"))
SMALL = ImagingRecovery(scenario=RecoveryScenario.preset("small"))


def with_settings(problem, **changes):
    return ImagingRecovery(scenario=replace(problem.scenario, **changes))


def drawn(problem, lanes, seed=5):
    return problem.sample(Streams.from_seed(seed, lanes))


def blinded(instance):
    """The same samples with another truth: what no honest receiver may notice."""
    return instance.replace(image=instance.image.flip(-1) * 0.5, symbol=instance.symbol.conj())


def error(problem, instance, solver, **settings):
    """Squared error of the image, (B,)."""
    found = solver.solve(problem, instance, **settings).decision
    return problem.evaluate(instance, found).msd


def decibels(ratio):
    return 10 * torch.log10(torch.as_tensor(ratio)).item()
