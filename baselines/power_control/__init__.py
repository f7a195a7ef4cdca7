"""Solvers of the power-control problem, by name; loaded one by one on demand."""

__all__ = ["SOLVERS"]

_HERE = "baselines.power_control"

SOLVERS = {
    "exact": f"{_HERE}.exact:Exact",
    "exact-bisect": f"{_HERE}.exact:ExactBisect",
    "peb3d": f"{_HERE}.position_bound:PositionBound3D",
    "peb2d": f"{_HERE}.position_bound:PositionBound2D",
    "min-mean-sigma": f"{_HERE}.mean_sigma:MinMeanSigma",
    "sca": f"{_HERE}.sca:Sca",
    "sca-cvxpy": "baselines.convex.power_control:ScaCvxpy",
    "gp-cvxpy": "baselines.convex.power_control:GpCvxpy",
    "distributed": f"{_HERE}.distributed:Distributed",
    "adam-softmin": f"{_HERE}.adam:AdamSoftmin",
    "energy-saver": f"{_HERE}.exact:EnergySaver",
    "max-comm-margin": f"{_HERE}.closed_form:MaxCommMargin",
    "min-comm-power": f"{_HERE}.closed_form:MinCommPower",
    "full-power": f"{_HERE}.closed_form:FullPower",
    "full-power-projected": f"{_HERE}.closed_form:FullPowerProjected",
    "random": f"{_HERE}.random_power:RandomPower",
}
