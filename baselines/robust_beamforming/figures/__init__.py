"""Figures of the BOBLRBF paper: channels, measurements, expected numbers, claims, plots."""

from baselines.robust_beamforming.figures.plots import make_figures

__all__ = ["make_figures"]
