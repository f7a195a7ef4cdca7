"""Figures of the power-control paper: draws, measurements, expected numbers, claims, plots."""

from baselines.power_control.figures.plots import make_figures

__all__ = ["make_figures"]
