"""Instances and decisions for the tests, and the same for the scalar oracles."""

import numpy as np
import torch

from isac_gym.core import Streams
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
)
from isac_gym.problems.robust_beamforming.scenario import RobustBeamformingScenario
from tests.oracles import robust_beamforming as oracle
from tests.oracles import robust_beamforming_sensing as sensing


def make(preset="paper", **changes):
    return RobustBeamforming(scenario=RobustBeamformingScenario.preset(preset, **changes))


def draw(problem, batch=4, *, seed=5):
    return problem.sample(Streams.from_seed(seed, batch))


def decide(problem, instance, *, seed=8):
    """Random factors at 60 to 100 % of every budget."""
    s, streams = problem.scenario, Streams.from_seed(seed, instance.batch_size)
    raw = RobustBeamformingDecision(
        streams.complex_normal("beam", s.num_bs, s.num_users, s.num_antennas),
        streams.complex_normal("sensing", s.num_bs, s.num_antennas, s.num_streams),
    )
    used = power_of(raw)
    share = 0.6 + 0.4 * streams.uniform("share", s.num_bs)
    scale = (share * instance.max_power_w / used).sqrt()[..., None, None]
    return raw.map(lambda t: t * scale)


def power_of(decision):
    """tr R_l, (B, I), of loops in NumPy."""
    parts = (np.abs(t.numpy()) ** 2 for t in (decision.beam, decision.sensing))
    return torch.as_tensor(sum(p.sum((-2, -1)) for p in parts))


def uneven(instance):
    """The instance with weights and budgets that differ between stations and users."""
    weight = torch.linspace(0.5, 2.0, instance.weight[0].numel(), dtype=torch.float64)
    budget = torch.linspace(0.5, 1.5, instance.max_power_w.shape[1], dtype=torch.float64)
    return instance.replace(
        weight=weight.reshape(instance.weight.shape[1:]).expand_as(instance.weight).clone(),
        max_power_w=instance.max_power_w * budget,
    )


def place_of(problem, instance, row):
    """The oracle's scene of one row; positions and reflections from the instance only."""
    i = instance
    arrays = (t[row].numpy() for t in (i.bs, i.target, i.reflection, i.correlation))
    return sensing.Scene(*arrays, problem.scenario.num_antennas)


def scored(problem, instance, decision, row):
    """What the oracles say about one row: sinr of three channels, crlb, power."""
    h, truth, radius = (
        t[row].numpy() for t in (instance.channel, instance.true_channel, instance.radius)
    )
    v, c = decision.beam[row].numpy(), decision.sensing[row].numpy()
    cov = oracle.covariance(v, c)
    shape = v.shape[:2]
    worst = np.array(
        [
            oracle.worst_sinr_pencil(oracle.link(h, radius, v, cov, *index))
            for index in np.ndindex(shape)
        ]
    ).reshape(shape)
    info = sensing.kernel_information(place_of(problem, instance, row), cov)
    bounds = np.diag(np.linalg.inv(info)).reshape(-1, 2).sum(1)
    return {
        "worst_sinr": worst,
        "nominal_sinr": oracle.nominal_sinr(h, v, cov),
        "realised_sinr": oracle.nominal_sinr(truth, v, cov),
        "crlb_m2": sensing.crlb(info),
        "target_m2": bounds,
        "power_w": np.trace(cov, axis1=1, axis2=2).real,
    }
