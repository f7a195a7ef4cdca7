import math

import pytest
import torch

from isac_gym.core import units


def test_db_to_linear__known_values():
    assert units.db_to_linear(0.0) == 1
    assert units.db_to_linear(10.0) == pytest.approx(10, rel=1e-15)
    assert units.db_to_linear(-30.0) == pytest.approx(1e-3, rel=1e-15)
    assert units.db_to_linear(-math.inf) == 0


def test_db_to_linear__tensor_equals_float(dtype, tolerance):
    value = torch.tensor([-37.5, 0.0, 3.0, -math.inf], dtype=dtype)
    expected = torch.tensor([units.db_to_linear(float(v)) for v in value], dtype=dtype)
    assert units.db_to_linear(value).dtype == dtype
    torch.testing.assert_close(
        units.db_to_linear(value), expected, rtol=tolerance.formula, atol=0.0
    )


def test_linear_to_db__inverts_db_to_linear():
    value = torch.linspace(-300, 100, 101, dtype=torch.float64)
    torch.testing.assert_close(
        units.linear_to_db(units.db_to_linear(value)), value, rtol=0, atol=1e-12
    )


def test_linear_to_db__zero_is_finite(dtype):
    zero = torch.zeros(3, dtype=dtype)
    assert torch.isfinite(units.linear_to_db(zero)).all()
    assert math.isfinite(units.linear_to_db(0.0))


def test_linear_to_db__gradient_finite_at_zero():
    ratio = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    units.linear_to_db(ratio).sum().backward()
    assert torch.isfinite(ratio.grad).all()


def test_dbm_to_w__known_values():
    assert units.dbm_to_w(30.0) == pytest.approx(1.0, rel=1e-15)
    assert units.dbm_to_w(0.0) == pytest.approx(1e-3, rel=1e-15)
    assert units.w_to_dbm(2.0) == pytest.approx(33.0103, abs=1e-4)


def test_thermal_noise_w__minus_174_dbm_per_hz():
    # k T0 at 290 K is the textbook -173.98 dBm/Hz
    assert units.w_to_dbm(units.thermal_noise_w(1.0, 0.0)) == pytest.approx(-173.975, abs=1e-3)
    assert units.w_to_dbm(units.thermal_noise_w(100e6, 5.0)) == pytest.approx(-88.975, abs=1e-3)
