"""Instances for solver tests, and the same networks for the oracles."""

import dataclasses
import math
from functools import cache

import torch

from isac_gym.core import Streams, family
from tests.oracles import power_control_optimum as oracle


@cache
def problem(preset="paper-constrained", **changes):
    return family("power_control").make_problem({"preset": preset, **changes})


@cache
def draw(count=8, *, seed=3, preset="paper-constrained", **changes):
    """Problem and ``count`` instances of a preset with changed fields."""
    setup = problem(preset, **changes)
    return setup, setup.sample(Streams.from_seed(seed, count))


def unlike_network(setup, instance):
    """Instances with different bandwidths, caps, thresholds and one user without threshold."""
    rows = torch.arange(instance.batch_size, dtype=torch.float64)[:, None]
    column = torch.arange(setup.scenario.num_bs, dtype=torch.float64)
    factor = 1 + 0.5 * torch.sin(1 + 3 * rows + column)
    threshold = instance.threshold * factor
    threshold[::2, 0] = 0
    return instance.replace(
        bandwidth_hz=instance.bandwidth_hz * factor,
        max_power_w=instance.max_power_w / factor,
        threshold=threshold,
    )


def oracle_networks(setup, instance):
    """One oracle network per row; thresholds and bandwidth weights are already folded in."""
    arrays = [tensor.numpy() for tensor in setup.network(instance)]
    return [
        oracle.Network(f, n, q, m, (m > 0).astype(float), 0 * n + 1)
        for f, n, q, m in zip(*arrays, strict=True)
    ]


def infeasible(setup, instance, margin_db=-3.0):
    """The same instances with thresholds that miss feasibility by ``-margin_db``."""
    factor = setup.comm_margin(instance) * 10 ** (-margin_db / 10)
    return instance.replace(threshold=instance.threshold * factor[:, None])


def loss_db(setup, instance, solution, best):
    """Exact objective minus that of a solution, (B,) dB."""
    return best.certificate.bound - setup.evaluate(instance, solution.decision).objective


def relative(db):
    """Relative difference of levels that differ by ``db``."""
    return math.log(10) / 10 * db


def with_fields(solver, **fields):
    return dataclasses.replace(solver, **fields)
