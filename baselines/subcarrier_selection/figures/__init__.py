"""Figures of the SPG-MIBO paper: joint and separate training, masks, evaluators, optima, plots."""

from baselines.subcarrier_selection.figures.plots import make_figures

__all__ = ["make_figures"]
