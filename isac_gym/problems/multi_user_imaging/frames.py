"""Frames of the closed loop: what is sent and received, targets that move, channels that age."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.physics.imaging import data_gain, illuminate, information, matched, receive
from isac_gym.physics.sparse_bayes import sparse_bayes
from isac_gym.problems.multi_user_imaging.design import ImagingDesignInstance
from isac_gym.problems.multi_user_imaging.records import ProbingDecision
from isac_gym.problems.multi_user_imaging.scenario import ImagingScenario
from isac_gym.problems.multi_user_imaging.world import draw_symbols

__all__ = ["Statistics", "aged", "moved", "neighbours", "observed"]

_FIRST = 5  # updates of the image that the symbols are decided with


class Statistics(NamedTuple):
    """What estimators need of all frames.

    Attributes:
        information: Phi, (B, V, V) W.
        matched: b, (B, V) W.
    """

    information: Tensor
    matched: Tensor


def observed(
    scenario: ImagingScenario,
    instance: ImagingDesignInstance,
    decision: ProbingDecision,
    streams: Streams,
    *,
    past: Statistics,
    gamma: Tensor | None,
) -> Statistics:
    """Statistics with those of a new frame added, whose probe has random phases.

    Args:
        scenario: Numbers of samples and the noise power.
        instance: What the frame passes through.
        decision: What is sent.
        streams: At the frame's step.
        past: Statistics of the frames before, forgetting done.
        gamma: Prior variances (B, V) that the users decide the symbols with; None: they know them.
    """
    s, i, count = scenario, instance, scenario.num_samples
    dtype = i.dtype
    turn = 2 * math.pi * streams.uniform("probe", count, s.num_antennas, dtype=dtype)
    code = torch.complex(torch.cos(turn), torch.sin(turn))
    probe = illuminate(i.bs_channel, code @ decision.probe.mT)  # (B, L, V)
    lit = (i.bs_channel @ decision.beam[..., None])[..., 0]
    symbol = draw_symbols(streams, count).to(code.dtype)
    noise = streams.complex_normal("noise", count, s.num_users, dtype=dtype)
    sent = probe + symbol[..., None] * lit[:, None]
    received = receive(i.user_channel, i.image, sent) + math.sqrt(s.noise_w) * noise
    if gamma is not None:
        first = _added(past, i.user_channel, probe, received)
        symbol = _decided(s, i, decision, first, probe, received, gamma)
        sent = probe + symbol[..., None] * lit[:, None]
    return _added(past, i.user_channel, sent, received)


def _added(past: Statistics, user_channel: Tensor, lit: Tensor, received: Tensor) -> Statistics:
    return Statistics(
        past.information + information(lit, user_channel),
        past.matched + matched(lit, user_channel, received),
    )


def _decided(
    s: ImagingScenario,
    i: ImagingDesignInstance,
    decision: ProbingDecision,
    first: Statistics,
    probe: Tensor,
    received: Tensor,
    gamma: Tensor,
) -> Tensor:
    """QPSK symbols (B, L) by maximum ratio combining, with an image that takes data as noise."""
    noise = torch.full_like(gamma[:, 0], s.noise_w)
    image = sparse_bayes(*first, noise, iterations=_FIRST, start=gamma).mean
    gain = data_gain(i.user_channel, image, i.bs_channel, decision.beam)
    rest = received - receive(i.user_channel, image, probe)
    seen = (rest @ gain.conj()[..., None])[..., 0]
    re, im = (torch.where(part >= 0, 1.0, -1.0).to(gamma.dtype) for part in (seen.real, seen.imag))
    return torch.complex(re, im) * math.sqrt(0.5)


def neighbours(scenario: ImagingScenario, device: torch.device) -> Tensor:
    """For each of six directions, the voxel that every voxel's content comes from, (6, V).

    The region is a torus.
    """
    s = scenario
    size = torch.tensor([s.voxels_x, s.voxels_y, s.voxels_z], device=device)
    place = torch.tensor(s.voxels(), device=device)
    step = torch.eye(3, dtype=torch.int64, device=device)
    there = (place + torch.cat([step, -step])[:, None]) % size  # (6, V, 3)
    return (there[..., 0] * size[1] + there[..., 1]) * size[2] + there[..., 2]


def moved(scenario: ImagingScenario, image: Tensor, streams: Streams, probability: float) -> Tensor:
    """Image (B, V), by one voxel in a random direction with the given probability."""
    origin = neighbours(scenario, image.device)
    way = streams.integers("direction", 1, high=len(origin))[:, 0]
    goes = streams.uniform("motion", 1) < probability
    return torch.where(goes, image.gather(1, origin[way]), image)


def aged(
    instance: ImagingDesignInstance, streams: Streams, correlation: float
) -> ImagingDesignInstance:
    """The instance with both sensing channels one frame older, first-order autoregressive."""
    if correlation == 1:
        return instance
    fresh = (1 - correlation**2) ** 0.5
    bs, user = instance.bs_channel, instance.user_channel
    new_bs = streams.complex_normal("ageing/bs", *bs.shape[1:], dtype=instance.dtype)
    new_user = streams.complex_normal("ageing/user", *user.shape[1:], dtype=instance.dtype)
    return instance.replace(
        bs_channel=correlation * bs + fresh * new_bs,
        user_channel=correlation * user + fresh * new_user,
    )
