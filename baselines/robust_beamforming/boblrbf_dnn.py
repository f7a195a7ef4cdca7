r"""BOBLRBF-DNN: the paper's unrolled network, as published and with two repairs.

Every layer adds a step to the variables x = [gamma; u] of the bilevel programme:

* ``literal``: x <- x + eta_y W_y(x), the paper's (25)-(27). W_y sees no channel: it cannot
  adapt to a sample except through its random start;
* ``features``: W_y(x, channel features, preference), the same loss with weights (p, 1 - p);
* ``gradient``: W_y(gamma, features, exact gradient, momentum), projected after each layer and
  trained on the exact Chebyshev value.

The loss of the first two is the paper's (27): weighted objectives at the network's own channel
errors, and penalties on the power budgets and on g - epsilon that grow with the steps.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from baselines.robust_beamforming.bilevel import Bilevel, LowerLevel
from baselines.robust_beamforming.objective import scalarise, utilities
from baselines.robust_beamforming.pga import warm_start
from isac_gym.core.random import Streams
from isac_gym.problems.robust_beamforming.model import (
    RobustBeamforming,
    RobustBeamformingDecision,
    RobustBeamformingInstance,
)

__all__ = [
    "MODES",
    "Unrolled",
    "UnrolledSizes",
    "exact_value",
    "features",
    "loss",
    "schedule",
    "start_point",
]

MODES = ("literal", "features", "gradient")
_LAYERS = {"literal": 5, "features": 5, "gradient": 8}  # paper: 5
_HIDDEN = {"literal": 256, "features": 256, "gradient": 128}  # paper: not given
_FIRST_STEP = 0.1  # eta_y before training
_MOMENTUM = 0.5
_ORACLE_STEPS = 6  # Newton steps of the worst case inside the layers
_SMOOTHING = 0.02  # of the Chebyshev value the gradient network is trained on
_LOWER = LowerLevel()
_GAP = 1e-2  # epsilon of (27)
_SILENT = 1e-6  # amplitude over noise below which a lost channel counts as this


class UnrolledSizes(NamedTuple):
    """Lengths that fix the weights' shapes.

    Attributes:
        design: Length of gamma.
        errors: Length of u.
        features: Length of the channel features.
    """

    design: int
    errors: int
    features: int

    @classmethod
    def of(cls, problem: RobustBeamforming) -> "UnrolledSizes":
        """Sizes of a problem."""
        s = problem.axis_sizes
        links = s["I"] ** 2 * s["K"]
        design = 2 * s["I"] * (s["K"] + s["R"]) * s["N"]
        return cls(design, 2 * links * s["N"], links * (2 * s["N"] + 2) + 2 * s["I"] * s["T"] + 1)


def features(instance: RobustBeamformingInstance) -> Tensor:
    """Normalised channels, their log gains and radii, target angles, preference, (B, F)."""
    i = instance
    size = (i.channel.real.square() + i.channel.imag.square()).sum(-1).sqrt().clamp_min(_SILENT)
    unit = torch.view_as_real(i.channel / size[..., None]).flatten(1)
    lit = i.reflection.abs().mean(-1).log10()
    parts = (size.log10() - 0.5, i.radius / size, i.angle, lit - lit.mean((1, 2), keepdim=True))
    return torch.cat([unit, *(t.flatten(1) for t in parts), i.preference[:, None]], 1)


class Unrolled(nn.Module):
    """The layers W_y and their step sizes."""

    def __init__(self, mode: str, sizes: UnrolledSizes, *, seed: int = 0) -> None:
        """Fan-in uniform weights from their own generator; last layers start small."""
        super().__init__()
        self.mode = mode
        inputs = {
            "literal": sizes.design + sizes.errors,
            "features": sizes.design + sizes.errors + sizes.features,
            "gradient": 3 * sizes.design + sizes.features,
        }[mode]
        outputs = sizes.design if mode == "gradient" else sizes.design + sizes.errors
        hidden = _HIDDEN[mode]
        widths = ((inputs, hidden), (hidden, hidden), (hidden, outputs))
        self.layers = nn.ModuleList(
            nn.ModuleList(nn.utils.skip_init(nn.Linear, a, b) for a, b in widths)
            for _ in range(_LAYERS[mode])
        )
        self.step = nn.Parameter(torch.full((_LAYERS[mode],), _FIRST_STEP))
        self.skip = nn.Parameter(torch.tensor([[1.0, _MOMENTUM]] * _LAYERS[mode]))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif name.endswith("weight"):
                gain = 0.1 if ".2." in name else 2**0.5
                nn.init.orthogonal_(parameter, gain, generator)

    def correction(self, index: int, inputs: Tensor) -> Tensor:
        """W_y of the layer's inputs."""
        first, second, last = self.layers[index]  # pyright: ignore[reportGeneralTypeIssues]
        hidden = torch.relu(second(torch.relu(first(inputs))))
        return last(hidden)

    def forward(self, programme: Bilevel, x: Tensor) -> Tensor:
        """Final variables (B, n) from the start x (B, n); ``gradient`` leaves the errors alone."""
        if self.mode == "gradient":
            return self._by_gradient(programme, x)
        extra = [features(programme.instance).to(x.dtype)] if self.mode == "features" else []
        for index in range(len(self.layers)):
            x = x + self.step[index] * self.correction(index, torch.cat([x, *extra], 1))
        return x

    def _by_gradient(self, programme: Bilevel, x: Tensor) -> Tensor:
        design = programme.num_design
        extra = features(programme.instance).to(x.dtype)
        momentum = torch.zeros_like(x[:, :design])
        for index in range(len(self.layers)):
            slope = self._slope(programme, x)
            inputs = torch.cat([x[:, :design], slope, momentum, extra], 1)
            pull, keep = self.skip[index]
            momentum = pull * slope + keep * momentum + self.correction(index, inputs)
            moved = x[:, :design] + self.step[index] * momentum
            x = programme.project(torch.cat([moved, x[:, design:]], 1))
        return x

    def _slope(self, programme: Bilevel, x: Tensor) -> Tensor:
        """Exact gradient of the scored value by gamma, unit norm per base station; a constant."""
        cells, design = programme.instance.channel.shape[1], programme.num_design
        with torch.enable_grad():
            gamma = x[:, :design].detach().requires_grad_()
            value = exact_value(programme, torch.cat([gamma, x[:, design:].detach()], 1))
            (slope,) = torch.autograd.grad(value.sum(), gamma)
        block = slope.reshape(len(x), cells, -1)
        tiny = torch.finfo(x.dtype).tiny ** 0.5
        return (block / block.square().sum(-1, keepdim=True).sqrt().clamp_min(tiny)).flatten(1)


def exact_value(programme: Bilevel, x: Tensor) -> Tensor:
    """Smooth Chebyshev value through the exact worst case, (B,); x must be in its budgets."""
    problem, instance = programme
    found = utilities(problem, instance, programme.decision(x), steps=_ORACLE_STEPS)
    return scalarise("chebyshev", instance.preference, found, smoothing=_SMOOTHING)


def loss(network: Unrolled, programme: Bilevel, x: Tensor, step: int) -> Tensor:
    """Training loss (27) of ``literal`` and ``features``, the exact one of ``gradient``; scalar."""
    if network.mode == "gradient":
        return -exact_value(programme, x).mean()
    p = programme.instance.preference
    weight = torch.full_like(p, 0.5) if network.mode == "literal" else p
    objectives = programme.objectives(x)
    aim = weight * objectives[:, 0] + (1 - weight) * objectives[:, 1]
    excess = (programme.power(x)[0] - 1).clamp_min(0).square().sum(-1)
    gap = x[:, programme.num_design :] - programme.response(x, _LOWER)
    missed = (gap.square().sum(-1) - _GAP).clamp_min(0)
    return (aim + (10 + 0.02 * step) * excess + (1 + 0.02 * step) * missed).mean()


def start_point(programme: Bilevel, mode: str, *, seed: int = 0) -> Tensor:
    """Start x, (B, n): random factors of 90 % power (``literal``), else RZF and sensing mixed."""
    problem, i = programme
    if mode != "literal":
        return programme.start(warm_start(problem, i, seed=seed))
    _, cells, _, users, antennas = i.channel.shape
    drawn = Streams.from_seed(seed, 1, device=i.device)
    shape = (cells, users + programme.num_streams, antennas)
    factor = drawn.complex_normal("boblrbf-dnn", *shape, dtype=i.preference.dtype)
    power = (factor.real.square() + factor.imag.square()).sum((-2, -1), keepdim=True)
    root = (0.9 * i.max_power_w[:, :, None, None] / power).sqrt()
    factor = factor * root
    beam, sensing = factor[:, :, :users], factor[:, :, users:].mT
    return programme.start(RobustBeamformingDecision(beam, sensing))


def schedule(part: float) -> float:
    """Factor on the learning rate after ``part`` of the training: 2 % warm-up, cosine to 0."""
    return min(1.0, 50 * part + 0.02) * 0.5 * (1 + math.cos(math.pi * min(part, 1.0)))
