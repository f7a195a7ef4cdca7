"""Amortised optimisation: networks trained by the gradient of the process's own score."""

from agents.amortised.train import AmortisedConfig, train

__all__ = ["AmortisedConfig", "train"]
