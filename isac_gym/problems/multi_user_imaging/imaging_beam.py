"""Imaging beam: choose one transmission per instance; the reward is the optimum over what is left.

One-shot optimisation with a certified optimum. The basis of the actions matters most. Equal power
has a mean efficiency of 0.63; the best shares over antennas or DFT beams reach 0.66, over the right
singular vectors of G B^-1/2 0.91, over the eigenvectors of the sensitivity -grad f, taken one
multiplicative step away from equal power, 0.99.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.linalg import hermitian_eigh
from isac_gym.core.process import ObservationBlock, Transition
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord, record_field, tensor_field
from isac_gym.core.scene import Scene
from isac_gym.physics.a_optimal import CHEAP_ITERATIONS, CHEAP_TOLERANCE, joint_design, step1_design
from isac_gym.physics.imaging import user_gram
from isac_gym.problems.multi_user_imaging.design import ImagingDesignInstance
from isac_gym.problems.multi_user_imaging.probing_actions import (
    closed_form,
    coded_factor,
    coded_weights,
    equal_power,
    error_covariance,
    factor_of,
    probing_task,
    sensitivity,
    spectral,
)
from isac_gym.problems.multi_user_imaging.probing_view import ProbingView, lit_voxels
from isac_gym.problems.multi_user_imaging.records import ProbingDecision

__all__ = ["ImagingBeam", "ImagingBeamState"]


@dataclass(frozen=True)
class ImagingBeamState(TensorRecord):
    """An instance, and the error bound f around equal power F F^H = I / N.

    In the basis U, f falls at the rates ``slope`` in the shares of power, which themselves fall
    at the rates ``bend``.
    """

    instance: ImagingDesignInstance = record_field(ImagingDesignInstance, doc="the instance")
    best: Tensor = tensor_field("B", "real", doc="certified lower bound of f")
    even: Tensor = tensor_field("B", "real", doc="f of equal power")
    basis: Tensor = tensor_field("B N N", "complex", doc="U, unit vectors as columns")
    slope: Tensor = tensor_field("B N", "real", doc="- df / d share, over f")
    bend: Tensor = tensor_field("B N N", "real", doc="d^2 f / d share^2, over f")
    reward: Tensor = tensor_field("B", "real", doc="last reward; 0 before")
    lit: Tensor = tensor_field("B V", "real", unit="W", doc="last illumination; 0 before")
    slot: Tensor = tensor_field("B", "int", doc="decisions made")


@dataclass(frozen=True, kw_only=True)
class ImagingBeam(ProbingView):
    """One decision per instance; reward f* / f in (0, 1].

    Attributes:
        action_mode: ``eigen``, N shares of power in the basis of the state, or ``factor``, all
            entries of the factor in that basis; see ``probing_actions.py``.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("efficiency",)

    horizon: int = 1
    action_mode: str = "eigen"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.action_mode not in ("eigen", "factor"):
            raise ScenarioError(
                f"action_mode must be 'eigen' or 'factor', got {self.action_mode!r}."
            )
        if self.horizon != 1:
            raise ScenarioError(f"horizon must be 1, one decision, got {self.horizon!r}.")

    @property
    def action_size(self) -> int:
        """N shares, or 2 N^2 entries."""
        count = self.problem.scenario.num_antennas
        return count if self.action_mode == "eigen" else 2 * count * count

    @property
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the observation: f to second order around equal power, in the basis."""
        n = self.problem.scenario.num_antennas
        return (
            ObservationBlock("slope", n, "log10 of - df / d share over its mean"),
            ObservationBlock(
                "bend", n, "log10 of f d^2 f / d share^2 over the squared slope, same share"
            ),
            ObservationBlock(
                "coupling", n * (n - 1) // 2, "d^2 f of two shares over the root of their own ones"
            ),
            ObservationBlock("gain", 1, "log10 of the mean slope over f"),
            ObservationBlock("room", 1, "power the data leave, over the budget"),
        )

    def initial(self, streams: Streams) -> ImagingBeamState:
        """Instances of ``Problem.sample`` with their optimum and their expansion."""
        instance = self.problem.sample(streams)
        joint = self.problem.scenario.information == "joint"
        found = (joint_design if joint else step1_design)(
            probing_task(self.problem, instance),
            iterations=CHEAP_ITERATIONS,
            tolerance=CHEAP_TOLERANCE,
        )
        even, basis, slope, bend = self._expansion(instance)
        return ImagingBeamState(
            instance=instance,
            best=found.lower,
            even=even,
            basis=basis,
            slope=slope,
            bend=bend,
            reward=torch.zeros_like(even),
            lit=torch.zeros_like(instance.image.real),
            slot=torch.zeros_like(streams.seed),
        )

    def _expansion(self, instance: ImagingDesignInstance) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Error of equal power (B,), basis (B, N, N), slopes (B, N) and bends (B, N, N) over f."""
        i, s = instance, self.problem.scenario
        form, gram = closed_form(self.problem, i), user_gram(i.user_channel)
        scale = (form.room * s.num_samples / s.noise_w).sqrt()[:, None, None]
        channel = scale * (i.bs_channel @ form.narrow)
        even = equal_power(channel)
        inverse = error_covariance(channel, gram, i.precision, even)
        value, vector = hermitian_eigh(sensitivity(channel, gram, inverse))
        ahead = (vector * value.clamp_min(0).sqrt()[:, None]) @ vector.mH  # one step: M^1/4 I M^1/4
        trace = torch.diagonal(ahead, dim1=-2, dim2=-1).real.sum(-1)
        ahead = ahead / trace.clamp_min(torch.finfo(trace.dtype).tiny)[:, None, None]
        there = error_covariance(channel, gram, i.precision, ahead)
        _, basis = hermitian_eigh(sensitivity(channel, gram, there))
        bound = torch.diagonal(inverse, dim1=-2, dim2=-1).real.sum(-1)
        slope, bend = _derivatives(channel @ basis, gram, inverse)
        return bound, basis, slope / bound[:, None], bend / bound[:, None, None]

    def observe(self, state: ImagingBeamState) -> Tensor:
        """Observation, (B, O) float32; see ``observation_blocks``."""
        tiny = torch.finfo(state.dtype).tiny ** 0.5
        slope = state.slope.clamp_min(tiny)
        mean = slope.mean(-1, keepdim=True)
        own = torch.diagonal(state.bend, dim1=-2, dim2=-1).clamp_min(tiny)
        row, column = torch.triu_indices(slope.shape[-1], slope.shape[-1], 1)
        coupling = state.bend / (own[:, None] * own[..., None]).sqrt()
        form = closed_form(self.problem, state.instance)
        parts = (
            (slope / mean).log10(),
            (own / slope.square()).log10(),
            coupling[:, row, column],
            mean.log10(),
            (form.room / state.instance.max_power_w)[:, None],
        )
        return self._bounded(torch.cat(parts, -1))

    def decode(self, state: ImagingBeamState, action: Tensor) -> ProbingDecision:
        """Decision of an action in [-1, 1]; feasible wherever anything is.

        Raises:
            ShapeError: Wrong shape.
        """
        expected = (state.batch_size, self.action_size)
        if action.shape != expected:
            raise ShapeError(f"action: shape {tuple(action.shape)}, expected {expected}.")
        action = action.to(state.dtype).clamp(-1, 1)
        chosen = spectral if self.action_mode == "eigen" else factor_of
        factor = chosen(state.basis, action)
        return closed_form(self.problem, state.instance).transmit(factor)

    def encode(self, state: ImagingBeamState, decision: ProbingDecision) -> Tensor:
        """Action whose decoding is ``decision``, or has its powers in the basis."""
        factor, _ = closed_form(self.problem, state.instance).shape(decision)
        coded = coded_weights if self.action_mode == "eigen" else coded_factor
        return coded(state.basis, factor)

    def advance(
        self, state: ImagingBeamState, decision: ProbingDecision, streams: Streams
    ) -> Transition:
        """Reward what is sent, the decision within power and SINR, and end the episode."""
        problem, i = self.problem, state.instance
        metrics = problem.evaluate(i, decision)
        sent = problem.project(i, decision)
        reward = (state.best / problem.evaluate(i, sent).error_bound).clamp_max(1)
        slot = state.slot + 1
        after = state.replace(
            reward=reward,
            lit=lit_voxels(i.bs_channel, problem.covariance(sent)),
            slot=slot,
        )
        return Transition(
            state=after,
            reward=reward,
            objectives=reward[:, None],
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=reward[:, None],
        )

    def measured(self, state: ImagingBeamState) -> ImagingDesignInstance:
        """The instance without the image."""
        return state.instance.replace(image=torch.zeros_like(state.instance.image))

    def truth(self, state: ImagingBeamState) -> ImagingDesignInstance:
        """The instance."""
        return state.instance

    def scene(self, state: ImagingBeamState) -> Scene:
        """The region, what is in it and what the last decision lit; row 0."""
        row = state[:1].to("cpu", torch.float64)
        title = f"imaging beam, efficiency {float(row.reward[0]):.3f}"
        nothing = torch.zeros_like(row.instance.image)
        return self._region(title, row.instance.image, nothing, row.lit)


def _derivatives(channel: Tensor, gram: Tensor, inverse: Tensor) -> tuple[Tensor, Tensor]:
    """-df / d share (B, N) and d^2 f / d share^2 (B, N, N) of channels (B, V, N) per share.

    A share of direction i adds A_i = D_i^* S D_i with D_i = diag(channel_i): f falls at
    tr (J^-2 A_i), and the second derivative is 2 Re tr (J^-2 A_i J^-1 A_j).
    """
    squared = inverse @ inverse
    seen = channel.mT.conj()  # (B, N, V)
    added = seen[..., :, None] * gram[:, None] * seen.conj()[..., None, :]  # (B, N, V, V)
    slope = (squared.mT[:, None] * added).sum((-2, -1)).real
    left = (squared[:, None] @ added @ inverse[:, None]).mT.flatten(2)
    bend = 2 * (left @ added.flatten(2).mT).real
    return slope, (bend + bend.mT) / 2
