"""Solvers of multi-user imaging, by name; loaded one by one on demand."""

__all__ = ["DESIGN_SOLVERS", "DIFFUSION_SOLVERS", "RECOVERY_SOLVERS"]

_HERE = "baselines.multi_user_imaging"

RECOVERY_SOLVERS: dict[str, str] = {}

DESIGN_SOLVERS: dict[str, str] = {}

DIFFUSION_SOLVERS: dict[str, str] = {
    "constant-step": f"{_HERE}.schedules:ConstantStep",
    "step-schedule": f"{_HERE}.schedules:StepSchedule",
    "fading-schedule": f"{_HERE}.schedules:FadingSchedule",
    "rare-exchange": f"{_HERE}.schedules:RareExchange",
    "alone": f"{_HERE}.schedules:Alone",
    "relative-variance": f"{_HERE}.schedules:RelativeVariance",
    "one-step-greedy-oracle": f"{_HERE}.schedules:OneStepGreedyOracle",
}
