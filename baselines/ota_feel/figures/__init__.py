"""Figures of the OTA-FEEL paper: frames, sweeps, fronts, training, localisation, claims, plots."""

from baselines.ota_feel.figures.plots import make_figures

__all__ = ["make_figures"]
