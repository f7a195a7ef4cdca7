"""What the base station and people see of adaptive sensing: the state record, observations."""

from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import ObservationBlock
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Scene
from isac_gym.problems.multi_user_imaging.design import ImagingDesignInstance
from isac_gym.problems.multi_user_imaging.probing_actions import closed_form
from isac_gym.problems.multi_user_imaging.probing_view import ProbingView

__all__ = ["AdaptiveSensingState", "AdaptiveSensingView"]

_LEAST = 1e-9


@dataclass(frozen=True)
class AdaptiveSensingState(TensorRecord):
    """Where the closed loop stands between two frames."""

    instance: ImagingDesignInstance = record_field(
        ImagingDesignInstance, doc="truth of the next frame; J_0 is what the posterior tells"
    )
    measured: ImagingDesignInstance = record_field(
        ImagingDesignInstance, doc="what is known: channels of a frame ago, the estimate as image"
    )
    information: Tensor = tensor_field(
        "B V V", "complex", unit="W", doc="Phi of all frames, older ones forgotten in part"
    )
    matched: Tensor = tensor_field("B V", "complex", unit="W", doc="b, the same")
    gamma: Tensor = tensor_field("B V", "real", doc="prior variances for the next frame")
    estimate: Tensor = tensor_field("B V", "complex", doc="posterior mean; 0 before")
    variance: Tensor = tensor_field("B V", "real", doc="posterior variances")
    even: Tensor = tensor_field("B N N", "complex", doc="F F^H of the prior's design")
    greedy: Tensor = tensor_field("B N N", "complex", doc="F F^H of the posterior's design")
    error_db: Tensor = tensor_field("B", "real", unit="dB", doc="squared error over |x|^2")
    surprise: Tensor = tensor_field(
        "B", "real", doc="shift of the last estimate over what the variances expected"
    )
    energy: Tensor = tensor_field("B", "real", unit="W frames", doc="energy left")
    lit: Tensor = tensor_field("B V", "real", unit="W", doc="last illumination; 0 before")
    frame: Tensor = tensor_field("B", "int", doc="frames done")


@dataclass(frozen=True, kw_only=True)
class AdaptiveSensingView(ProbingView):
    """The observing half of the processes."""

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the observation."""
        s = self.problem.scenario
        v, n = s.num_voxels, s.num_antennas
        return (
            ObservationBlock("image", v, "modulus of the estimate"),
            ObservationBlock("deviation", v, "root of the posterior variance over the prior's"),
            ObservationBlock("light", v, "last illumination over a frame's mean at equal power"),
            ObservationBlock("greedy", n, "log10 of N times the greedy design's spectrum / 2"),
            ObservationBlock("overlap", 1, "cosine of the greedy and the prior's design"),
            ObservationBlock("surprise", 1, "log10 of the shift over what was expected"),
            ObservationBlock("spread", 1, "log10 of the posterior's over the prior's trace"),
            ObservationBlock("room", 1, "power the data leave, over the largest power"),
            ObservationBlock("energy", 1, "energy left, in frames at full power / horizon"),
            ObservationBlock("time", 1, "frame / horizon"),
        )

    def observe(self, state: AdaptiveSensingState) -> Tensor:
        """Observation, (B, O) float32; see ``observation_blocks``."""
        s, m = self.problem.scenario, state.measured
        equal = m.bs_channel.abs().square().mean((-2, -1)) * s.max_power_w
        spectrum = torch.linalg.eigvalsh(state.greedy) * s.num_antennas
        size = (_square(state.greedy) * _square(state.even)).sqrt()
        overlap = (state.greedy.conj() * state.even).real.sum((-2, -1)) / size
        spread = state.variance.mean(-1) / s.prior_variance
        one = (
            overlap,
            state.surprise.clamp_min(_LEAST).log10(),
            spread.clamp_min(_LEAST).log10(),
            closed_form(self.problem, m).room / s.max_power_w,
            state.energy / (s.max_power_w * self.horizon),
            state.frame.to(state.dtype) / self.horizon,
        )
        parts = (
            state.estimate.abs(),
            (state.variance / s.prior_variance).sqrt(),
            state.lit / equal[:, None],
            spectrum.clamp_min(_LEAST).log10() / 2,
            torch.stack(one, -1),
        )
        return self._bounded(torch.cat(parts, -1))

    def measured(self, state: AdaptiveSensingState) -> ImagingDesignInstance:
        """What the base station knows: the estimate in the place of the image."""
        return state.measured

    def truth(self, state: AdaptiveSensingState) -> ImagingDesignInstance:
        """What the next frame passes through; J_0 is still what the posterior tells."""
        return state.instance

    def scene(self, state: AdaptiveSensingState) -> Scene:
        """The region, the target, its estimate and what the last frame lit; row 0."""
        row = state[:1].to("cpu", torch.float64)
        level = float(row.error_db[0])
        title = f"frame {int(row.frame[0])} of {self.horizon}, image error {level:.1f} dB"
        return self._region(title, row.instance.image, row.estimate, row.lit)


def _square(z: Tensor) -> Tensor:
    return (z.real.square() + z.imag.square()).sum((-2, -1))
