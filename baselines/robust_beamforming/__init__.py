"""Solvers of robust beamforming, by name; loaded one by one on demand."""

__all__ = ["FRONT_SOLVERS", "SOLVERS"]

_HERE = "baselines.robust_beamforming"

SOLVERS = {
    "pga": f"{_HERE}.pga:Pga",
    "pga-nominal": f"{_HERE}.pga:PgaNominal",
    "relaxation": f"{_HERE}.relaxation:Relaxation",
    "boblrbf": f"{_HERE}.boblrbf:Boblrbf",
    "boblrbf-phase1": f"{_HERE}.boblrbf:BoblrbfPhase1",
    "boblrbf-literal": f"{_HERE}.boblrbf:BoblrbfLiteral",
    "boblrbf-dnn": f"{_HERE}.learned:BoblrbfDnn",
    "boblrbf-dnn-features": f"{_HERE}.learned:BoblrbfDnnFeatures",
    "boblrbf-dnn-gradient": f"{_HERE}.learned:BoblrbfDnnGradient",
    "mrt-split": f"{_HERE}.closed_form:MrtSplit",
    "mrt-null": f"{_HERE}.closed_form:MrtNull",
    "zf-split": f"{_HERE}.closed_form:ZfSplit",
    "zf-null": f"{_HERE}.closed_form:ZfNull",
    "rzf-split": f"{_HERE}.closed_form:RzfSplit",
    "rzf-null": f"{_HERE}.closed_form:RzfNull",
    "wmmse-split": f"{_HERE}.wmmse:Wmmse",
    "robust-wmmse-split": f"{_HERE}.wmmse:RobustWmmse",
    "branch-bound": "baselines.convex.robust_beamforming:BranchBound",
}

FRONT_SOLVERS = {
    "pga": f"{_HERE}.front:PgaFront",
    "pga-nominal": f"{_HERE}.front:PgaNominalFront",
    "relaxation": f"{_HERE}.front:FrontRelaxation",
    "boblrbf": f"{_HERE}.front:BoblrbfFront",
    "boblrbf-phase1": f"{_HERE}.front:BoblrbfPhase1Front",
    "boblrbf-literal": f"{_HERE}.front:BoblrbfLiteralFront",
    "boblrbf-dnn": f"{_HERE}.front:BoblrbfDnnFront",
    "boblrbf-dnn-features": f"{_HERE}.front:BoblrbfDnnFeaturesFront",
    "boblrbf-dnn-gradient": f"{_HERE}.front:BoblrbfDnnGradientFront",
    "mrt-split": f"{_HERE}.front:MrtSplitFront",
    "mrt-null": f"{_HERE}.front:MrtNullFront",
    "zf-split": f"{_HERE}.front:ZfSplitFront",
    "zf-null": f"{_HERE}.front:ZfNullFront",
    "rzf-split": f"{_HERE}.front:RzfSplitFront",
    "rzf-null": f"{_HERE}.front:RzfNullFront",
    "wmmse-split": f"{_HERE}.front:WmmseFront",
    "robust-wmmse-split": f"{_HERE}.front:RobustWmmseFront",
}
