"""Solvers of multi-user imaging, by name; loaded one by one on demand."""

__all__ = ["DESIGN_SOLVERS", "RECOVERY_SOLVERS"]

_HERE = "baselines.multi_user_imaging"

RECOVERY_SOLVERS: dict[str, str] = {}

DESIGN_SOLVERS: dict[str, str] = {}
