"""Solvers of subcarrier selection, by name; loaded one by one on demand."""

__all__ = ["SOLVERS"]

_HERE = "baselines.subcarrier_selection"

SOLVERS: dict[str, str] = {}
