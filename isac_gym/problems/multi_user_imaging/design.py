"""Design: the covariance of the probing waveform and the data beam for the next samples.

The error bound f = tr (J_0 + J)^-1 is the squared error of the best linear estimate that users
together can make (Bayesian A-optimality): convex and decreasing in the covariance, with a certified
optimum. The paper's steady-state error of its filter is not: at a fixed step size more probing
power leaves it unchanged.

Source: the networked-ISAC paper, (40)-(46), with its metric replaced as ``docs`` explain.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.linalg import inverse_trace
from isac_gym.core.problem import Problem
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, demand
from isac_gym.core.units import linear_to_db
from isac_gym.physics.imaging import expected_information, masked_bound, user_gram
from isac_gym.problems.multi_user_imaging.records import (
    ImagingDesignInstance,
    ImagingDesignMetrics,
    ProbingDecision,
)
from isac_gym.problems.multi_user_imaging.scenario import DesignScenario
from isac_gym.problems.multi_user_imaging.world import draw_world, matched_beam, support_of

__all__ = [
    "ImagingDesign",
    "ImagingDesignInstance",
    "ImagingDesignMetrics",
    "ProbingDecision",
    "sinr",
]

_ROUNDINGS = 64  # by which the closed forms exceed the SINR needed, and by which it may be short


@dataclass(frozen=True, kw_only=True)
class ImagingDesign(Problem):
    """Minimise the error bound of the image under a power budget and a SINR constraint."""

    name: ClassVar[str] = "imaging_design"
    scenario_type: ClassVar[type[DesignScenario]] = DesignScenario
    instance_type: ClassVar[type[TensorRecord]] = ImagingDesignInstance
    decision_type: ClassVar[type[TensorRecord]] = ProbingDecision
    metrics_type: ClassVar[type[TensorRecord]] = ImagingDesignMetrics
    objective_unit: ClassVar[str] = "dB"

    scenario: DesignScenario = DesignScenario()

    @property
    def axis_sizes(self) -> dict[str, int]:
        """Users, antennas, voxels, columns of the probing factor (as many as antennas)."""
        s = self.scenario
        return {"K": s.num_users, "N": s.num_antennas, "V": s.num_voxels, "R": s.num_antennas}

    def sample(self, streams: Streams) -> ImagingDesignInstance:
        """Draw a world; nothing is known of the image but the prior."""
        s, world = self.scenario, draw_world(self.scenario, streams)
        eye = torch.eye(s.num_voxels, dtype=torch.complex128, device=world.image.device)
        return ImagingDesignInstance(
            bs_channel=world.bs_channel,
            user_channel=world.user_channel,
            comm_channel=world.comm_channel,
            image=world.image,
            precision=(eye / s.prior_variance).repeat(len(world.image), 1, 1),
            max_power_w=torch.full_like(world.image[:, 0].real, s.max_power_w),
        )

    def covariance(self, decision: ProbingDecision) -> Tensor:
        """Covariance of what informs, (B, N, N) W: W_s, with ``joint`` also w_c w_c^H."""
        probe = decision.probe @ decision.probe.mH
        if self.scenario.information == "step1":
            return probe
        return probe + decision.beam[..., None] * decision.beam.conj()[..., None, :]

    def information(self, instance: ImagingDesignInstance, covariance: Tensor) -> Tensor:
        """Expected Fisher information of x without the prior, (B, V, V), of W (B, N, N)."""
        i, s = instance, self.scenario
        gram = user_gram(i.user_channel)
        return expected_information(i.bs_channel, gram, covariance, s.num_samples) / s.noise_w

    def project(
        self, instance: ImagingDesignInstance, decision: ProbingDecision
    ) -> ProbingDecision:
        """Scale to the budget; where the SINR is short, give up as little of the probe as needed.

        First the data beam is raised along the user's channel, if there is power to spare. Else
        the probe is either silenced towards the user or scaled down as it is, each with the
        cheapest beam, whichever keeps more of its power.
        """
        i = instance
        scaled = _within(decision, i.max_power_w)
        is_short = self._is_short(i, scaled)
        raised = self._raised(i, scaled)
        is_enough = _power(raised) <= i.max_power_w * (1 + _margin(i))
        unit = matched_beam(i.comm_channel, 1.0)[..., None]
        silent = scaled.replace(probe=scaled.probe - unit @ (unit.mH @ scaled.probe))
        beam = self.beam_alone(i)
        rest = (i.max_power_w - _square(beam).sum(-1)).clamp_min(0)
        alone = ProbingDecision(_limited(silent.probe, rest), beam)
        silent = alone.where(self._is_short(i, silent), silent)
        shared = self._shared(i, scaled.probe)
        keeps_more = _square(shared.probe).sum((-2, -1)) > _square(silent.probe).sum((-2, -1))
        least = shared.where(keeps_more, silent)
        return raised.where(is_enough, least).where(is_short, scaled)

    def _is_short(self, instance: ImagingDesignInstance, decision: ProbingDecision) -> Tensor:
        s = self.scenario
        reached = sinr(instance.comm_channel, decision, s.comm_noise_w)
        return reached < s.min_sinr * (1 - _margin(instance))

    def _raised(
        self, instance: ImagingDesignInstance, decision: ProbingDecision
    ) -> ProbingDecision:
        """The decision with the beam's part along h just large enough, whatever that costs."""
        i, s = instance, self.scenario
        heard = _square((i.comm_channel.conj()[:, None] @ decision.probe)[:, 0]).sum(-1)
        tiny = torch.finfo(i.dtype).tiny
        needed = s.min_sinr * (1 + _margin(i)) * (heard + s.comm_noise_w)
        unit = matched_beam(i.comm_channel, 1.0)
        along = (unit.conj() * decision.beam).sum(-1)
        size = (needed / _square(i.comm_channel).sum(-1).clamp_min(tiny)).sqrt()
        modulus = along.abs()
        phase = torch.where(modulus > 0, along / modulus.clamp_min(tiny), 1.0)
        return decision.replace(beam=decision.beam + (size * phase - along)[:, None] * unit)

    def _shared(self, instance: ImagingDesignInstance, probe: Tensor) -> ProbingDecision:
        """The probe scaled down until it and the cheapest beam that beats it fit the budget."""
        i, s = instance, self.scenario
        tiny = torch.finfo(i.dtype).tiny
        energy = _square(i.comm_channel).sum(-1).clamp_min(tiny)
        heard = _square((i.comm_channel.conj()[:, None] @ probe)[:, 0]).sum(-1)
        least = s.min_sinr * (1 + _margin(i)) / energy
        room = (i.max_power_w - least * s.comm_noise_w).clamp_min(0)
        share = room / (_square(probe).sum((-2, -1)) + least * heard).clamp_min(tiny)
        share = share.clamp_max(1)
        power = torch.minimum(least * (share * heard + s.comm_noise_w), i.max_power_w)
        return ProbingDecision(
            share.sqrt()[:, None, None] * probe, matched_beam(i.comm_channel, power)
        )

    def beam_alone(self, instance: ImagingDesignInstance) -> Tensor:
        """Cheapest data beam where the probe is silent at the user, (B, N); all power at most."""
        s, h = self.scenario, instance.comm_channel
        tiny = torch.finfo(instance.dtype).tiny
        needed = s.min_sinr * s.comm_noise_w * (1 + _margin(instance))
        power = needed / _square(h).sum(-1).clamp_min(tiny)
        return matched_beam(h, torch.minimum(power, instance.max_power_w))

    def isotropic(self, instance: ImagingDesignInstance) -> ProbingDecision:
        """Equal power in all directions with the cheapest matched beam: the SINR just met."""
        i, s = instance, self.scenario
        count, energy = i.comm_channel.shape[-1], _square(i.comm_channel).sum(-1)
        least = s.min_sinr * (1 + _margin(i))
        needed = least * s.comm_noise_w / energy.clamp_min(torch.finfo(energy.dtype).tiny)
        # p_c |h|^2 = Gamma (q |h|^2 + noise) with N q = P - p_c.
        share = (i.max_power_w - needed).clamp_min(0) / (count + least)
        power = (i.max_power_w - count * share).clamp_min(0)
        eye = torch.eye(count, dtype=i.comm_channel.dtype, device=i.device)
        probe = share.sqrt()[:, None, None] * eye
        return _within(ProbingDecision(probe, matched_beam(i.comm_channel, power)), i.max_power_w)

    def floor(self, instance: ImagingDesignInstance) -> ProbingDecision:
        """Isotropic probing, the SINR just met: nothing is known of the channel to the voxels."""
        return self.isotropic(instance)

    def evaluate(
        self, instance: ImagingDesignInstance, decision: ProbingDecision
    ) -> ImagingDesignMetrics:
        """All metrics of a decision; total and differentiable."""
        i, s = instance, self.scenario
        gained = self.information(i, self.covariance(decision))
        bound = inverse_trace(i.precision + gained)
        reached = sinr(i.comm_channel, decision, s.comm_noise_w)
        power = _power(decision)
        over = (power / i.max_power_w - 1).clamp_min(0)
        most = i.max_power_w * _square(i.comm_channel).sum(-1) / s.comm_noise_w
        return ImagingDesignMetrics(
            objective=-linear_to_db(bound),
            violation=torch.maximum(over, (1 - reached / s.min_sinr).clamp_min(0)),
            error_bound=bound,
            sinr=reached,
            power_w=power,
            support_bound=masked_bound(gained.detach(), support_of(i.image)),
            is_reachable=most > s.min_sinr,
        )

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """As the base, and: a positive budget, a Hermitian positive definite precision.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        super().validate(instance, decision)
        if not isinstance(instance, ImagingDesignInstance) or instance.batch_size == 0:
            return
        label, i = "ImagingDesignInstance", instance
        demand(i.max_power_w > 0, f"{label}.max_power_w", "> 0")
        size = i.precision.abs().amax((-2, -1), keepdim=True)
        slack = 1e-5 if i.dtype.itemsize == 4 else 1e-9
        is_hermitian = (i.precision - i.precision.mH).abs() <= slack * size
        demand(is_hermitian, f"{label}.precision", "Hermitian")
        _, info = torch.linalg.cholesky_ex(i.precision, check_errors=False)
        demand(info == 0, f"{label}.precision", "positive definite")


def sinr(comm_channel: Tensor, decision: ProbingDecision, noise_w: float) -> Tensor:
    """|h^H w_c|^2 / (h^H W_s h + noise), (B,), of h (B, N). Source: paper (40)."""
    bra = comm_channel.conj()[:, None]
    wanted = _square((bra @ decision.beam[..., None])[:, 0, 0])
    return wanted / (_square((bra @ decision.probe)[:, 0]).sum(-1) + noise_w)


def _margin(instance: ImagingDesignInstance) -> float:
    return _ROUNDINGS * torch.finfo(instance.dtype).eps


def _power(decision: ProbingDecision) -> Tensor:
    return _square(decision.probe).sum((-2, -1)) + _square(decision.beam).sum(-1)


def _within(decision: ProbingDecision, budget: Tensor) -> ProbingDecision:
    """Both parts scaled by one factor to at most the budget (B,) W."""
    scale = (budget / torch.maximum(_power(decision), budget)).sqrt()
    return ProbingDecision(decision.probe * scale[:, None, None], decision.beam * scale[:, None])


def _limited(probe: Tensor, budget: Tensor) -> Tensor:
    power = _square(probe).sum((-2, -1))
    tiny = torch.finfo(power.dtype).tiny
    scale = (budget / torch.maximum(power, budget).clamp_min(tiny)).sqrt()
    return probe * scale[:, None, None]


def _square(z: Tensor) -> Tensor:
    return z.real.square() + z.imag.square()
