"""Figures of the SPG-MIBO paper: joint and separate training, masks, evaluators, optima, plots."""
