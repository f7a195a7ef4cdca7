"""Instances for the tests: from the package's sampler to the scalar oracle and back."""

import dataclasses

import numpy as np
import torch

from isac_gym.core import Streams
from isac_gym.problems.power_control.model import PowerControl, PowerControlDecision
from isac_gym.problems.power_control.scenario import PowerControlScenario
from tests.oracles import power_control_physics as oracle


def make(preset="paper", **changes):
    return PowerControl(scenario=PowerControlScenario.preset(preset, **changes))


def draw(problem, batch=6, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def powers(problem, batch=6, *, seed=8):
    """Random powers inside the box, (B, I)."""
    x = Streams.from_seed(seed, batch).uniform("x", problem.scenario.num_bs)
    return PowerControlDecision(0.05 + 0.9 * x)


def uneven(instance):
    """The instance with bandwidths, caps, thresholds and noises that differ between stations."""
    factor = torch.linspace(0.5, 1.5, instance.bandwidth_hz.shape[1], dtype=torch.float64)
    return dataclasses.replace(
        instance,
        bandwidth_hz=instance.bandwidth_hz * factor,
        max_power_w=instance.max_power_w * factor.flip(0),
        threshold=instance.threshold * factor.square(),
        bs_noise_w=instance.bs_noise_w * factor,
        ue_noise_w=instance.ue_noise_w * factor.flip(0),
        self_interference=instance.self_interference * factor.square(),
    )


def gains_of(instance, row):
    """The oracle's record of one row."""
    names = {
        "h": "comm_gain",
        "g": "direct_gain",
        "a": "bs_echo_gain",
        "e": "ue_echo_gain",
        "si": "self_interference",
        "n_b": "bs_noise_w",
        "n_u": "ue_noise_w",
        "p_max": "max_power_w",
    }
    return oracle.Gains(**{k: getattr(instance, name)[row].numpy() for k, name in names.items()})


def scored(problem, instance, decision, row):
    """The oracle's metrics of one row."""
    s = problem.scenario
    with np.errstate(divide="ignore"):
        gamma_db = 10 * np.log10(instance.threshold[row].numpy())
    return oracle.evaluate(
        decision.power[row].numpy(),
        gains_of(instance, row),
        instance.bs[row].numpy(),
        instance.target[row].numpy(),
        bw_hz=instance.bandwidth_hz[row].numpy(),
        gamma_db=gamma_db,
        num_resources=s.num_subcarriers * s.num_symbols,
        integrate=s.processing_gain,
        own_echo=s.own_echo,
    )
