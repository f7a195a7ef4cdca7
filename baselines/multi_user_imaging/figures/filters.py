r"""The paper's two-step scheme with every choice exposed: what Figs. 4 to 8 vary.

Steps and penalties are relative, so that one number fits all sizes: with E = V P the mean energy of
a regressor and c = 1 + E |x|^2 (1 for LMS), a filter runs at step * c / E with penalties l1 / c and
l21 / c (the mean energy of the image is public, being the scenario's).
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.multi_user_imaging.figures.draws import Frames
from baselines.multi_user_imaging.symbols import residual_and_gain, sliced, svd_symbols
from isac_gym.physics.diffusion import diffuse

__all__ = ["LAST", "Run", "Variant", "filtered", "run", "steady"]

LAST = 150  # samples over which a steady state is averaged, as in the paper


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One variant of the two-step scheme.

    Attributes:
        estimator: ``tls`` (the paper) or ``lms``.
        step: Relative step size.
        l1: Relative element penalty.
        l21: Relative block penalty.
        first: Penalties (l1, l21) of the first step if they differ.
        is_sliced: Symbols are decided, not only estimated.
        is_central: One filter driven by the mean of all users' gradients.
        knows_symbols: A genie tells the symbols: no first step.
        cooperates: Users exchange images.
    """

    estimator: str = "tls"
    step: float = 0.6
    l1: float = 0.0
    l21: float = 0.0
    first: tuple[float, float] | None = None
    is_sliced: bool = False
    is_central: bool = False
    knows_symbols: bool = False
    cooperates: bool = True


class Run(NamedTuple):
    """Learning curves and images of a filter.

    Attributes:
        first: Squared error of the first step after every sample, (D, L); None with a genie.
        second: The same of the second step.
        estimate: Images at the end, (D, K, V).
    """

    first: Tensor | None
    second: Tensor
    estimate: Tensor


def steady(curve: Tensor) -> Tensor:
    """Squared error over the last samples, (D,), of a learning curve (D, L)."""
    return curve[:, -LAST:].mean(-1)


def run(frames: Frames, variant: Variant) -> Run:
    """Both steps on all frames."""
    i, problem = frames.single, frames.problem
    probing, data = problem.probing(i), problem.data_illumination(i)
    if variant.knows_symbols:
        first, symbol = None, i.symbol
    else:
        l1, l21 = variant.first or (variant.l1, variant.l21)
        first, image = filtered(frames, replace(variant, l1=l1, l21=l21), probing)
        symbol = svd_symbols(*residual_and_gain(image, i.user_channel, probing, data, i.received))
        symbol = sliced(symbol) if variant.is_sliced else symbol
    second, image = filtered(frames, variant, probing + symbol[..., None] * data[:, None])
    return Run(first, second, image)


def filtered(frames: Frames, variant: Variant, lit: Tensor) -> tuple[Tensor, Tensor]:
    """Learning curve (D, L) and images (D, K, V) of one run of the filter from 0."""
    i, s, f = frames.single, frames.problem.scenario, variant
    scale = 1 + s.image_energy if f.estimator == "tls" else 1.0
    start, g = torch.zeros_like(i.user_channel), i.user_channel
    step = torch.full_like(g[..., 0].real, f.step * scale / (s.num_voxels * s.max_power_w))
    found = diffuse(
        start,
        lit,
        i.received,
        g,
        frames.weight if f.cooperates else None,
        step=step,
        estimator=f.estimator,
        l1=f.l1 / scale,
        l21=f.l21 / scale,
        blocks=torch.tensor(s.blocks()),
        reference=i.image,
        is_central=f.is_central,
    )
    curve = torch.zeros_like(i.received[..., 0].real) if found.msd is None else found.msd
    return curve, found.estimate.expand_as(start)
