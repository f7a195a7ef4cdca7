"""Figures of the OTA-FEEL paper: frames, sweeps, fronts, training, localisation, claims, plots."""
