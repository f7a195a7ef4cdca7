"""Recovery: every user turns the frame's samples into an image.

A statistical problem: no certificate bounds the error of one draw (a lucky guess is exact). The
Cramer-Rao bounds in the metrics hold on average over the noise, for unbiased estimators; what one
draw is compared with is the error of the oracle that knows support and symbols, on the same noise.

Source: the networked-ISAC paper, (1)-(9) and (51); see ``docs/multi_user_imaging.md``.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.core.units import linear_to_db
from isac_gym.physics.graphs import hops, proximity_graph
from isac_gym.physics.imaging import (
    data_gain,
    illuminate,
    information,
    masked_bound,
    receive,
    unknown_symbol_information,
)
from isac_gym.problems.multi_user_imaging.records import (
    ImagingRecoveryDecision,
    ImagingRecoveryInstance,
    ImagingRecoveryMetrics,
)
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario
from isac_gym.problems.multi_user_imaging.world import (
    draw_probe,
    draw_symbols,
    draw_world,
    matched_beam,
    support_of,
)

__all__ = [
    "ImagingRecovery",
    "ImagingRecoveryDecision",
    "ImagingRecoveryInstance",
    "ImagingRecoveryMetrics",
    "gathering_scalars",
    "image_snr_db",
    "passive",
]

_LEAST = 1e-15  # least ratio of squared errors that is told apart: 150 dB


@dataclass(frozen=True, kw_only=True)
class ImagingRecovery(Problem):
    """Reconstruct the scattering coefficients of V voxels at each of K users."""

    name: ClassVar[str] = "imaging_recovery"
    scenario_type: ClassVar[type[RecoveryScenario]] = RecoveryScenario
    instance_type: ClassVar[type[TensorRecord]] = ImagingRecoveryInstance
    decision_type: ClassVar[type[TensorRecord]] = ImagingRecoveryDecision
    metrics_type: ClassVar[type[TensorRecord]] = ImagingRecoveryMetrics
    objective_unit: ClassVar[str] = "dB"

    scenario: RecoveryScenario = RecoveryScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Users, antennas, voxels, samples."""
        s = self.scenario
        return {"K": s.num_users, "N": s.num_antennas, "V": s.num_voxels, "L": s.num_samples}

    def sample(self, streams: Streams) -> ImagingRecoveryInstance:
        """Draw a world, a frame of transmission and what the users receive."""
        s = self.scenario
        world = draw_world(s, streams)
        beam = matched_beam(world.comm_channel, s.data_share * s.max_power_w)
        probe = draw_probe(s, streams, s.num_samples)
        symbol = draw_symbols(streams, s.num_samples)
        noise = streams.complex_normal("noise", s.num_samples, s.num_users)
        sent = probe + symbol[..., None] * beam[:, None]
        lit = illuminate(world.bs_channel, sent)
        return ImagingRecoveryInstance(
            bs_channel=world.bs_channel,
            user_channel=world.user_channel,
            image=world.image,
            adjacency=proximity_graph(world.position, s.num_edges),
            position=world.position,
            beam=beam,
            probe=probe,
            symbol=symbol,
            received=receive(world.user_channel, world.image, lit) + s.noise_w**0.5 * noise,
        )

    def probing(self, instance: ImagingRecoveryInstance) -> Tensor:
        """Illumination by the known probe, G p(t), (B, L, V) sqrt(W)."""
        return illuminate(instance.bs_channel, instance.probe)

    def data_illumination(self, instance: ImagingRecoveryInstance) -> Tensor:
        """Illumination by the data beam, a = G w_c, (B, V) sqrt(W)."""
        return (instance.bs_channel @ instance.beam[..., None])[..., 0]

    def project(
        self, instance: ImagingRecoveryInstance, decision: ImagingRecoveryDecision
    ) -> ImagingRecoveryDecision:
        """Moduli cut at 1, the nearest passive image."""
        return ImagingRecoveryDecision(passive(decision.estimate), decision.scalars.clamp_min(0))

    def floor(self, instance: ImagingRecoveryInstance) -> ImagingRecoveryDecision:
        """The empty image: 0 dB."""
        estimate = torch.zeros_like(instance.user_channel)
        scalars = torch.zeros(len(estimate), dtype=torch.int64, device=estimate.device)
        return ImagingRecoveryDecision(estimate, scalars)

    def evaluate(
        self, instance: ImagingRecoveryInstance, decision: ImagingRecoveryDecision
    ) -> ImagingRecoveryMetrics:
        """All metrics of a decision; total and differentiable."""
        i, estimate = instance, decision.estimate
        off = _square(estimate - i.image[:, None]).sum(-1)  # (B, K)
        msd, middle = off.mean(-1), estimate.mean(1)
        f1, iou = self._support_scores(i, middle)
        genie, unknown = self.bounds(i)
        excess = (msd / genie).clamp(_LEAST, 1 / _LEAST)
        gathering = gathering_scalars(i.adjacency, i.received.shape[1], i.image.shape[1])
        return ImagingRecoveryMetrics(
            objective=image_snr_db(i.image, msd),
            violation=(estimate.abs().amax((-2, -1)) - 1).clamp_min(0),
            msd=msd,
            msd_user=off,
            disagreement=_square(estimate - middle[:, None]).sum(-1).mean(-1),
            f1=f1,
            iou=iou,
            genie_bound=genie,
            unknown_bound=unknown,
            excess_db=linear_to_db(excess),
            scalars=decision.scalars.to(msd.dtype),
            gathering_scalars=gathering.to(msd.dtype),
        )

    def bounds(self, instance: ImagingRecoveryInstance) -> tuple[Tensor, Tensor]:
        """Cramer-Rao bounds of the msd on the true support, symbols known and unknown, (B,) each.

        They hold on average over the noise for unbiased estimators of a complex image.
        """
        i, support = instance, support_of(instance.image)
        sent = i.probe + i.symbol[..., None] * i.beam[:, None]
        lit, noise = illuminate(i.bs_channel, sent), self.scenario.noise_w
        gain = data_gain(i.user_channel, i.image, i.bs_channel, i.beam)
        genie = masked_bound(information(lit, i.user_channel) / noise, support)
        unknown = unknown_symbol_information(lit, i.user_channel, gain) / noise
        return genie, masked_bound(unknown, support)

    def _support_scores(
        self, instance: ImagingRecoveryInstance, middle: Tensor
    ) -> tuple[Tensor, Tensor]:
        """F1 and IoU of the voxels above half the smallest amplitude, (B,) each."""
        found = middle.abs() > self.scenario.min_amplitude / 2
        true = support_of(instance.image)
        dtype = instance.dtype
        both, either = ((t.sum(-1)).to(dtype) for t in (found & true, found | true))
        total = (found.sum(-1) + true.sum(-1)).to(dtype)
        return 2 * both / total.clamp_min(1), both / either.clamp_min(1)

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: the graph is symmetric and connected, the image neither 0 nor active.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, ImagingRecoveryInstance) or instance.batch_size == 0:
            return
        label, graph = "ImagingRecoveryInstance", instance.adjacency
        demand(graph == graph.mT, f"{label}.adjacency", "symmetric")
        loops = torch.diagonal(graph, dim1=-2, dim2=-1)
        demand(~loops, f"{label}.adjacency", "without links of a user to itself")
        demand(hops(graph) < graph.shape[-1], f"{label}.adjacency", "connected")
        size = instance.image.abs()
        demand(size.amax(-1) > 0, f"{label}.image", "of some occupied voxel")
        demand(size <= 1 + 1e-6, f"{label}.image", "passive, moduli <= 1")
        is_unit = (instance.symbol.abs() - 1).abs() <= 1e-5
        demand(is_unit, f"{label}.symbol", "of unit modulus")


def passive(estimate: Tensor) -> Tensor:
    """The estimate (any shape, complex) with moduli cut at 1."""
    return estimate / estimate.abs().clamp_min(1)


def image_snr_db(image: Tensor, msd: Tensor) -> Tensor:
    """|x|^2 / msd in dB, (B,), at most 150, of x (B, V) and msd (B,)."""
    energy = _square(image).sum(-1).clamp_min(torch.finfo(msd.dtype).tiny)
    least = max(_LEAST, torch.finfo(msd.dtype).tiny)
    return -linear_to_db((msd / energy).clamp_min(least))


def gathering_scalars(adjacency: Tensor, num_samples: int, num_voxels: int) -> Tensor:
    """Complex scalars sent to gather all samples at the best leader and send the image back, (B,).

    Args:
        adjacency: (B, K, K) bool.
        num_samples: L, samples of each user; every link on the way counts.
        num_voxels: V; the image travels down a tree of K - 1 links.
    """
    way = hops(adjacency).sum(-1).amin(-1).to(torch.float64)
    return (way * num_samples + num_voxels * (adjacency.shape[-1] - 1)).to(torch.float64)


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
