"""What of the GPU check needs no GPU, and the gradient check on complex decisions."""

import warnings
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from isac_gym.core import TensorRecord
from isac_gym.core.records import tensor_field
from isac_gym.testing import PROBLEM_CHECKS, ConformanceError, check_problem
from isac_gym.testing import cuda as cuda_module
from isac_gym.testing.cuda import _demand_near, _synchronisations, cuda_agrees
from tests.contracts.toy import ToyMetrics, ToyProblem


def refused(action, check, words=""):
    with pytest.raises(ConformanceError) as caught:
        action()
    assert caught.value.check == check, str(caught.value)
    assert words in str(caught.value)


# --- agreement with a GPU -----------------------------------------------------------------------


@dataclass(frozen=True)
class Mixed(TensorRecord):
    """One tensor of every kind."""

    scalar: torch.Tensor = tensor_field("B", "real", doc="a number")
    row: torch.Tensor = tensor_field("B K", "real", doc="numbers")
    wave: torch.Tensor = tensor_field("B K", "complex", doc="complex numbers")
    count: torch.Tensor = tensor_field("B", "int", doc="not compared")


def mixed():
    row = torch.linspace(1, 1e6, 12, dtype=torch.float64).reshape(3, 4)
    return Mixed(row[:, 0] / 1e3, row, torch.complex(row, -row), torch.arange(3))


def changed(name, index, value):
    record = mixed()
    tensor = getattr(record, name).clone()
    tensor[index] = value
    return record.replace(**{name: tensor})


def test_demand_near__accepts_rounding():
    here = mixed()
    _demand_near(here, here)
    for factor in (1 + 9e-8, 1 - 9e-8):
        _demand_near(here, here.map(lambda t, f=factor: t * f if t.dtype != torch.int64 else t))


@pytest.mark.parametrize("name", ["scalar", "row", "wave"])
def test_demand_near__rejects_a_changed_value(name):
    here, size = mixed(), getattr(mixed(), name)
    index = 2 if name == "scalar" else (2, 1)
    step = size[2].abs().max().clamp_min(1).item()
    _demand_near(here, changed(name, index, size[index] + 0.9e-7 * step))
    far = changed(name, index, size[index] + 1.2e-7 * step)
    refused(lambda: _demand_near(here, far), "problem.cuda", f"in {name}")
    refused(lambda: _demand_near(far, here), "problem.cuda", f"in {name}")


@pytest.mark.parametrize("value", [torch.inf, -torch.inf])
@pytest.mark.parametrize("name", ["scalar", "row"])
def test_demand_near__infinities_agree_with_themselves_only(name, value):
    index = 1 if name == "scalar" else (1, 2)
    infinite = changed(name, index, value)
    _demand_near(infinite, infinite.map(torch.clone))
    for other in (mixed(), changed(name, index, -value), changed(name, index, torch.nan)):
        refused(lambda o=other: _demand_near(infinite, o), "problem.cuda", f"in {name}")
        refused(lambda o=other: _demand_near(o, infinite), "problem.cuda", f"in {name}")


def test_demand_near__an_infinity_hides_no_neighbour():
    here = changed("row", (1, 2), torch.inf)
    row = here.row.clone()
    row[1, 0] *= 1.01
    refused(lambda: _demand_near(here, here.replace(row=row)), "problem.cuda", "in row")


def test_synchronisations__name_the_line_and_forgive_eigenvalues(monkeypatch):
    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    with _synchronisations() as seen:
        warnings.warn("called a synchronizing operation", UserWarning, stacklevel=1)
        warnings.warn("something else", UserWarning, stacklevel=1)
        warnings.warn("synchronizing in linalg.eigh", UserWarning, stacklevel=1)
    assert len(seen) == 1
    assert seen[0].startswith("test_cuda_and_complex.py:")
    assert "called a synchronizing operation" in seen[0]
    assert modes == ["warn", "default"]
    with pytest.raises(RuntimeError, match="broken"), _synchronisations():
        raise RuntimeError("broken")
    assert modes[-1] == "default"


def test_cuda_agrees__asks_for_nothing_without_a_gpu(monkeypatch):
    monkeypatch.setattr(cuda_module.torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(ToyProblem, "sample", None)
    cuda_agrees(ToyProblem())


# --- complex gradients --------------------------------------------------------------------------


@dataclass(frozen=True)
class WaveDecision(TensorRecord):
    """Complex amplitudes instead of powers."""

    wave: torch.Tensor = tensor_field("B K", "complex", unit="sqrt(W)", doc="amplitude")


@dataclass(frozen=True, kw_only=True)
class WaveProblem(ToyProblem):
    """The toy problem with complex amplitudes; the objective depends on their phases."""

    decision_type: ClassVar = WaveDecision
    metrics_type: ClassVar = ToyMetrics

    def seen(self, wave):
        """What ``evaluate`` differentiates through."""
        return wave

    def power(self, wave):
        return wave.real.square() + wave.imag.square()

    def project(self, instance, decision):
        total = self.power(decision.wave).sum(-1, keepdim=True)
        cap = instance.cap_w[:, None]
        scale = torch.where(total > cap, (cap / total.clamp_min(cap)).sqrt(), 1)
        return WaveDecision(decision.wave * scale)

    def evaluate(self, instance, decision):
        wave = self.seen(decision.wave)
        echo = (instance.channel.conj() * wave).sum(-1)
        heard = (echo.real.square() + echo.imag.square()) / instance.noise_w
        excess = self.power(wave).sum(-1) / instance.cap_w - 1
        rate = torch.log2(1 + heard)
        return ToyMetrics(rate, excess.clamp_min(0), rate[:, None].expand(wave.shape))

    def floor(self, instance):
        share = (instance.cap_w[:, None] / self.scenario.num_users).sqrt()
        return WaveDecision(share.expand(instance.channel.shape).to(instance.channel.dtype))


class _Bent(torch.autograd.Function):
    """The identity with another gradient."""

    @staticmethod
    def forward(ctx, z, bend):
        ctx.bend = bend
        return z.clone()

    @staticmethod
    def backward(ctx, slope):
        return ctx.bend(slope), None


def bent(bend):
    return dataclass(frozen=True, kw_only=True)(
        type("Broken", (WaveProblem,), {"seen": lambda self, wave: _Bent.apply(wave, bend)})
    )()


def test_gradients__a_complex_decision_passes():
    check_problem(WaveProblem())
    PROBLEM_CHECKS["gradients"](bent(lambda slope: slope))  # the bend itself is no error


BENDS = {
    "conjugated": torch.conj,
    "half": lambda slope: slope / 2,
    "turned by a tenth of a percent": lambda slope: slope * (1 + 1e-3j),
    "real part only": lambda slope: slope.real.to(slope.dtype),
    "imaginary part only": lambda slope: 1j * slope.imag,
    "NaN": lambda slope: slope * torch.nan,
    "one antenna off": lambda slope: slope.roll(1, -1),
}


@pytest.mark.parametrize("case", BENDS)
def test_gradients__a_wrong_complex_gradient_is_rejected(case):
    refused(lambda: PROBLEM_CHECKS["gradients"](bent(BENDS[case])), "problem.gradients")


def test_gradients__a_detached_imaginary_part_is_rejected():
    def seen(self, wave):
        return torch.complex(wave.real, wave.imag.detach())

    broken = dataclass(frozen=True, kw_only=True)(type("Broken", (WaveProblem,), {"seen": seen}))()
    refused(lambda: PROBLEM_CHECKS["gradients"](broken), "problem.gradients", "wave")
