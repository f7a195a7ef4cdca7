import pytest
import torch

from baselines.power_control.log_power import MeanSigmaProgramme, PositionProgramme
from baselines.power_control.outcome import interior, network_of
from baselines.power_control.position_bound import _directions
from tests.baselines.cases import draw


def programmes():
    setup, instance = draw(4)
    network, inside, _ = interior(network_of(setup, instance))
    yield MeanSigmaProgramme.of(network), inside
    for dimension in (2, 3):
        yield PositionProgramme.of(network, _directions(instance, dimension)), inside


@pytest.mark.parametrize("case", range(3))
def test_programme__derivatives_equal_automatic_ones(case):
    programme, inside = list(programmes())[case]
    point = (inside.log() - 0.3)[:, :, None].requires_grad_()
    multiplier = torch.rand(4, 9, 1, generator=torch.Generator().manual_seed(0)).double()

    def lagrangian(z):
        constraint = programme.expand(z).constraint
        return (programme.value(z[:, :, 0]) + (multiplier * constraint)[:, :, 0].sum(-1)).sum()

    at = programme.expand(point)
    (gradient,) = torch.autograd.grad(programme.value(point[:, :, 0]).sum(), point)
    torch.testing.assert_close(at.gradient, gradient, rtol=1e-9, atol=1e-11)
    for k in range(9):
        (row,) = torch.autograd.grad(programme.expand(point).constraint[:, k].sum(), point)
        torch.testing.assert_close(at.jacobian[:, k], row[:, :, 0], rtol=1e-12, atol=1e-14)
    hessian = torch.autograd.functional.hessian(lagrangian, point)
    for lane in range(4):
        expected = hessian[lane, :, 0, lane, :, 0]
        ours = programme.hessian(point, multiplier)[lane]
        torch.testing.assert_close(ours, expected, rtol=1e-8, atol=1e-10)


def test_programme__value_is_the_metric_up_to_a_constant():
    setup, instance = draw(4)
    network = network_of(setup, instance)
    quantities = {
        "mean_sigma_m": (MeanSigmaProgramme.of(network), 1),
        "peb2d_m": (PositionProgramme.of(network, _directions(instance, 2)), 2),
        "peb3d_m": (PositionProgramme.of(network, _directions(instance, 3)), 2),
    }
    points = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    for name, (programme, order) in quantities.items():
        offset = [
            programme.value(x.log())
            - order * getattr(setup.evaluate(instance, setup.decision_type(x)), name).log()
            for x in points
        ]
        torch.testing.assert_close(torch.stack(offset), offset[0].expand(5, 4))


def test_programme__is_convex_exactly_with_as_many_stations_as_dimensions():
    _, flat, solid = (programme for programme, _ in programmes())
    assert solid.is_convex
    assert not flat.is_convex
