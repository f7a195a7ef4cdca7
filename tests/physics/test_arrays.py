"""Steering vectors: unit norm, Sionna's sign, and the beam of the conjugate precoder."""

import cmath
import math

import pytest
import torch

from isac_gym.physics.arrays import linear_array, steering_vectors


def test_linear_array__is_centred_with_the_spacing():
    position = linear_array(5, spacing_wavelengths=0.5, axis=1)
    assert position[:, 1].tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert position[:, [0, 2]].abs().max() == 0


def test_steering__matches_the_stated_formula():
    position = linear_array(4, axis=2)
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=torch.float64)
    found = steering_vectors(position, direction)
    for m in range(4):
        wanted = cmath.exp(2j * math.pi * float(position[m, 2]) * 0.8) / 2
        assert complex(found[m]) == pytest.approx(wanted, rel=1e-14)


def test_steering__has_unit_norm_and_its_conjugate_points_there():
    position = linear_array(8)
    angle = torch.linspace(-1.5, 1.5, 61, dtype=torch.float64)
    direction = torch.stack([torch.sin(angle), torch.cos(angle), torch.zeros_like(angle)], -1)
    vectors = steering_vectors(position, direction)
    assert torch.allclose(vectors.abs().square().sum(-1), torch.ones(61, dtype=torch.float64))
    precoder = vectors[40].conj()
    assert int((vectors @ precoder).abs().argmax()) == 40


def test_steering__half_wavelength_dft_grid_is_orthogonal():
    sine = torch.arange(-4, 4, dtype=torch.float64) / 4
    direction = torch.stack([sine, (1 - sine.square()).sqrt(), torch.zeros_like(sine)], -1)
    vectors = steering_vectors(linear_array(8), direction)
    torch.testing.assert_close(
        vectors @ vectors.mH, torch.eye(8, dtype=torch.complex128), rtol=0, atol=1e-12
    )


def test_steering__broadcasts_over_leading_axes():
    direction = torch.zeros(2, 5, 3, dtype=torch.float64)
    assert steering_vectors(linear_array(4), direction).shape == (2, 5, 4)
