"""Solvers of OTA-FEEL, by name; loaded one by one on demand."""

__all__ = ["SOLVERS"]

_HERE = "baselines.ota_feel"

SOLVERS: dict[str, str] = {
    "sensing-only": f"{_HERE}.sensing:SensingOnly",
    "relaxation": f"{_HERE}.relaxation:Relaxation",
    "reference": f"{_HERE}.reference:Reference",
    "alg1-cvx": "baselines.convex.ota_feel:AlgorithmOne",
    "joint-gradient": f"{_HERE}.tradeoff:JointGradient",
    "ao": f"{_HERE}.alternating:Alternating",
    "ao-null-space": f"{_HERE}.alternating:AlternatingNullSpace",
    "svd": f"{_HERE}.fixed:Svd",
    "common-directions": f"{_HERE}.fixed:Common",
    "random": f"{_HERE}.fixed:RandomPrecoder",
    "beam-at-target": f"{_HERE}.fixed:BeamAtTarget",
    "silent": f"{_HERE}.fixed:Silent",
    "uniform-forcing": f"{_HERE}.uniform_forcing:UniformForcing",
    "varpro": f"{_HERE}.varpro:VarPro",
    "varpro-lbfgs": f"{_HERE}.varpro:VarProLbfgs",
    "uniform-forcing-sca": f"{_HERE}.receive_sca:ReceiveSca",
}
