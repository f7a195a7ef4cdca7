"""Diffusion: one block of cooperative adaptation, each user choosing its own filter settings.

In every sample each user corrects its image by its own error, then averages the images of the
neighbours that send (adapt, then combine). What is chosen once per block, by every user: the step
size, the weights of the average, whether to send, and how much to shrink small coefficients.

The block is run with the nearest admissible settings, so that the score is finite for any decision;
``violation`` says how far off the decision was. Images are limited to moduli of 10 at least every
25 samples: coefficients are passive, |x| <= 1, so only a diverging filter meets the limit.

Source: the networked-ISAC paper, Algorithm 2 in its least-mean-squares form; differs: total least
squares is biased here, see ``docs/multi_user_imaging.md``.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.core.scenario import parameter
from isac_gym.physics.diffusion import diffuse
from isac_gym.physics.graphs import hops, metropolis, proximity_graph
from isac_gym.physics.imaging import illuminate, receive
from isac_gym.problems.multi_user_imaging.diffusion_records import (
    ImagingDiffusionDecision,
    ImagingDiffusionInstance,
    ImagingDiffusionMetrics,
)
from isac_gym.problems.multi_user_imaging.recovery import image_snr_db
from isac_gym.problems.multi_user_imaging.scenario import RecoveryScenario
from isac_gym.problems.multi_user_imaging.world import (
    draw_probe,
    draw_symbols,
    draw_world,
    matched_beam,
)

__all__ = [
    "LIMIT",
    "MAX_SPARSITY",
    "STEP_RANGE",
    "DiffusionScenario",
    "ImagingDiffusion",
    "ImagingDiffusionDecision",
    "ImagingDiffusionInstance",
    "ImagingDiffusionMetrics",
    "Outcome",
    "heard",
    "onto_simplex",
]

STEP_RANGE = (0.05, 1.5)  # over 1 / E; above 1.4 / E single samples throw the filter off
MAX_SPARSITY = 0.05
LIMIT = 10.0  # largest modulus a user lets its image have
_STRETCH = 25  # samples between two looks at the limit, at most
_BLOCKS = 30  # draws come from the first 30 blocks of a run


@dataclass(frozen=True, kw_only=True)
class DiffusionScenario(RecoveryScenario):
    """As of recovery, cut into blocks of L samples."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "paper": {},
        "small": {**RecoveryScenario.presets["small"], "num_samples": 8, "mean_degree": 2.0},
        "noisy": {"snr_db": 0.0},
        "unknown-symbols": {"known_symbols": False},
    }

    num_samples: int = parameter(
        25, low=1, high=1000, doc="samples of one block", source="ours: 30 blocks of 25 are 750"
    )
    known_symbols: bool = parameter(
        True,
        doc="data symbols are decoded and lend their power to the filter; else they are noise",
        source="paper: both, step 2 and step 1",
    )

    @property
    def regressor_energy(self) -> float:
        """E, mean energy of a user's regressor at full power: voxels times power, W."""
        return self.num_voxels * self.max_power_w


class Outcome(NamedTuple):
    """What a block leaves behind.

    Attributes:
        estimate: Images after the block, (B, K, V).
        message: Images as sent in the last sample, before the average, (B, K, V).
    """

    estimate: Tensor
    message: Tensor


@dataclass(frozen=True, kw_only=True)
class ImagingDiffusion(Problem):
    """Choose step, weights, sending and shrinkage of K cooperating filters for one block."""

    name: ClassVar[str] = "imaging_diffusion"
    scenario_type: ClassVar[type[DiffusionScenario]] = DiffusionScenario
    instance_type: ClassVar[type[TensorRecord]] = ImagingDiffusionInstance
    decision_type: ClassVar[type[TensorRecord]] = ImagingDiffusionDecision
    metrics_type: ClassVar[type[TensorRecord]] = ImagingDiffusionMetrics
    objective_unit: ClassVar[str] = "dB"

    scenario: DiffusionScenario = DiffusionScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Users, antennas, voxels, samples of a block."""
        s = self.scenario
        return {"K": s.num_users, "N": s.num_antennas, "V": s.num_voxels, "L": s.num_samples}

    def sample(self, streams: Streams) -> ImagingDiffusionInstance:
        """A block somewhere in the first 30; the image SNR before it is 1 dB per block gone by.

        Half the error is common to all users. The first block starts from empty images.
        """
        start = self.begin(streams)
        image = start.image
        gone = streams.integers("progress", high=_BLOCKS)
        energy = image.abs().square().mean(-1) * torch.pow(10.0, -0.1 * gone.to(torch.float64))
        common = streams.complex_normal("error/common", 1, image.shape[1])
        own = streams.complex_normal("error/own", *start.estimate.shape[1:])
        error = (energy / 2).sqrt()[:, None, None] * (common + own)
        estimate = torch.where((gone > 0)[:, None, None], image[:, None] + error, 0)
        return start.replace(estimate=limited(estimate), elapsed=gone * self.scenario.num_samples)

    def begin(self, streams: Streams) -> ImagingDiffusionInstance:
        """First block of a run: empty images."""
        s = self.scenario
        world = draw_world(s, streams)
        zero = torch.zeros_like(world.user_channel)
        empty = zero[:, :1, :1].expand(-1, s.num_samples, s.num_antennas)
        start = ImagingDiffusionInstance(
            bs_channel=world.bs_channel,
            user_channel=world.user_channel,
            image=world.image,
            adjacency=proximity_graph(world.position, s.num_edges),
            position=world.position,
            beam=matched_beam(world.comm_channel, s.data_share * s.max_power_w),
            estimate=zero,
            elapsed=torch.zeros_like(streams.seed),
            probe=empty,
            symbol=empty[..., 0],
            received=zero.mT[:, :1].expand(-1, s.num_samples, -1),
        )
        return self.transmit(start, streams)

    def transmit(
        self, instance: ImagingDiffusionInstance, streams: Streams
    ) -> ImagingDiffusionInstance:
        """The instance with freshly drawn samples."""
        s, i = self.scenario, instance
        probe = draw_probe(s, streams, s.num_samples).to(i.beam.dtype)
        symbol = draw_symbols(streams, s.num_samples).to(i.beam.dtype)
        noise = streams.complex_normal("noise", s.num_samples, s.num_users).to(i.beam.dtype)
        lit = illuminate(i.bs_channel, probe + symbol[..., None] * i.beam[:, None])
        received = receive(i.user_channel, i.image, lit) + s.noise_w**0.5 * noise
        return i.replace(probe=probe, symbol=symbol, received=received)

    def known_illumination(self, instance: ImagingDiffusionInstance) -> Tensor:
        """Illumination of the voxels as far as the users know it, (B, L, V) sqrt(W)."""
        i, sent = instance, instance.probe
        if self.scenario.known_symbols:
            sent = sent + i.symbol[..., None] * i.beam[:, None]
        return illuminate(i.bs_channel, sent)

    def residual(self, instance: ImagingDiffusionInstance, estimate: Tensor) -> Tensor:
        """Mean |y_k - u_k^T estimate_k|^2 of each user over the block's samples, (B, K) W."""
        i, lit = instance, self.known_illumination(instance)
        return _square(i.received - lit @ (i.user_channel * estimate).mT).mean(-2)

    def project(
        self, instance: ImagingDiffusionInstance, decision: ImagingDiffusionDecision
    ) -> ImagingDiffusionDecision:
        """Weights on the simplex of the links (nearest), settings clipped to their ranges."""
        mask = _with_self(instance.adjacency)
        return ImagingDiffusionDecision(
            step=decision.step.clamp(*STEP_RANGE),
            weight=onto_simplex(decision.weight.mT, mask).mT,
            send=decision.send,
            sparsity=decision.sparsity.clamp(0, MAX_SPARSITY),
        )

    def floor(self, instance: ImagingDiffusionInstance) -> ImagingDiffusionDecision:
        """The plain filter: step 0.6, Metropolis weights, everyone sends, no shrinkage."""
        weight = metropolis(instance.adjacency, dtype=instance.dtype)
        zero = torch.zeros_like(weight[..., 0])
        return ImagingDiffusionDecision(
            step=zero + 0.6, weight=weight, send=zero == 0, sparsity=zero
        )

    def evaluate(
        self, instance: ImagingDiffusionInstance, decision: ImagingDiffusionDecision
    ) -> ImagingDiffusionMetrics:
        """All metrics of a decision; total and differentiable."""
        return self.score(instance, decision, self.run(instance, decision))

    def run(
        self, instance: ImagingDiffusionInstance, decision: ImagingDiffusionDecision
    ) -> Outcome:
        """Run the block with the nearest admissible settings."""
        i, d = instance, self.project(instance, decision)
        weight, lit = heard(d.weight, d.send), self.known_illumination(i)
        step = d.step / self.scenario.regressor_energy
        shrink, last = d.sparsity * self.scenario.max_power_w, lit.shape[1] - 1

        def stretch(estimate: Tensor, rows: slice, weight: Tensor | None) -> Tensor:
            seen = lit[:, rows], i.received[:, rows]
            found = diffuse(estimate, *seen, i.user_channel, weight, step=step, l1=shrink)
            return limited(found.estimate)

        estimate = i.estimate
        for first in range(0, last, _STRETCH):
            estimate = stretch(estimate, slice(first, min(first + _STRETCH, last)), weight)
        message = stretch(estimate, slice(last, last + 1), None)
        return Outcome(weight.to(message.dtype).mT @ message, message)

    def score(
        self,
        instance: ImagingDiffusionInstance,
        decision: ImagingDiffusionDecision,
        outcome: Outcome,
    ) -> ImagingDiffusionMetrics:
        """Metrics of a decision whose block has been run."""
        i, after = instance, outcome.estimate
        off = _square(after - i.image[:, None]).sum(-1)
        before = _square(i.estimate - i.image[:, None]).sum((-1, -2)) / off.shape[-1]
        objective = self._snr_db(i, off.mean(-1))
        links = i.adjacency.sum(-1).to(off.dtype)
        sent = (links * decision.send).sum(-1)
        return ImagingDiffusionMetrics(
            objective=objective,
            violation=self._violation(i, decision),
            gain_db=objective - self._snr_db(i, before),
            msd=off.mean(-1),
            msd_user=off,
            disagreement=_square(after - after.mean(1, keepdim=True)).sum(-1).mean(-1),
            scalars=sent * (i.image.shape[1] * i.received.shape[1]),
            cost_share=sent / links.sum(-1),
        )

    def _snr_db(self, instance: ImagingDiffusionInstance, msd: Tensor) -> Tensor:
        """As in recovery; an empty image, as of a planner who knows nothing, has unit energy."""
        image = instance.image
        is_empty = (image.abs().amax(-1) == 0)[:, None]
        return image_snr_db(torch.where(is_empty, image.shape[-1] ** -0.5, image), msd)

    def _violation(
        self, instance: ImagingDiffusionInstance, decision: ImagingDiffusionDecision
    ) -> Tensor:
        weight, (low, high) = decision.weight, STEP_RANGE
        stray = torch.where(_with_self(instance.adjacency), -weight, weight.abs()).amax((-2, -1))
        unbalanced = (weight.sum(-2) - 1).abs().amax(-1)
        step = torch.maximum(decision.step / high, 2 - decision.step / low).amax(-1) - 1
        sparsity = (decision.sparsity / MAX_SPARSITY - 0.5).abs().amax(-1) - 0.5
        worst = torch.stack([stray, unbalanced, step, sparsity], -1)
        return worst.amax(-1).clamp_min(0)

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: the graph is symmetric and connected, images passive or limited.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, ImagingDiffusionInstance) or instance.batch_size == 0:
            return
        label, graph = "ImagingDiffusionInstance", instance.adjacency
        demand(graph == graph.mT, f"{label}.adjacency", "symmetric")
        loops = torch.diagonal(graph, dim1=-2, dim2=-1)
        demand(~loops, f"{label}.adjacency", "without links of a user to itself")
        demand(hops(graph) < graph.shape[-1], f"{label}.adjacency", "connected")
        demand(instance.image.abs() <= 1 + 1e-6, f"{label}.image", "passive, moduli <= 1")
        within = instance.estimate.abs() <= LIMIT * (1 + 1e-6)
        demand(within, f"{label}.estimate", f"limited, moduli <= {LIMIT:g}")
        demand(instance.elapsed >= 0, f"{label}.elapsed", ">= 0")
        demand(instance.symbol.abs() <= 1 + 1e-5, f"{label}.symbol", "of at most unit modulus")


def heard(weight: Tensor, send: Tensor) -> Tensor:
    """Weights of those that send and of oneself, columns summing to 1 again, (B, K, K).

    A user left without any weight keeps its own image.

    Args:
        weight: a_lk >= 0, (B, K, K).
        send: True for users who send, (B, K).
    """
    eye = torch.eye(weight.shape[-1], dtype=torch.bool, device=weight.device)
    kept = torch.where(send[..., None] | eye, weight, 0)
    total, least = kept.sum(-2, keepdim=True), 1e-12
    return torch.where(total > least, kept / total.clamp_min(least), eye.to(weight.dtype))


def onto_simplex(value: Tensor, mask: Tensor) -> Tensor:
    """Nearest point of the probability simplex on the entries of a mask, along the last axis.

    Args:
        value: (..., n) real.
        mask: (..., n) bool, at least one True in every row; the others get 0.
    """
    low = torch.where(mask, value, -1e30)
    order = low.sort(-1, descending=True).values
    count = torch.arange(1, value.shape[-1] + 1, dtype=value.dtype, device=value.device)
    level = (order.cumsum(-1) - 1) / count
    used = (order > level).sum(-1, keepdim=True).clamp_min(1)
    return torch.where(mask, (value - level.gather(-1, used - 1)).clamp_min(0), 0)


def limited(estimate: Tensor) -> Tensor:
    """Estimates with moduli cut at :data:`LIMIT`."""
    return estimate / (estimate.abs() / LIMIT).clamp_min(1)


def _with_self(adjacency: Tensor) -> Tensor:
    eye = torch.eye(adjacency.shape[-1], dtype=torch.bool, device=adjacency.device)
    return adjacency | eye


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
