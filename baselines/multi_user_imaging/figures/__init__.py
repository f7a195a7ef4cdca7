"""Figures of the networked-ISAC paper: frames, filters, tuning, measurements, claims, plots."""

from baselines.multi_user_imaging.figures.plots import make_figures

__all__ = ["make_figures"]
