"""Solvers of robust beamforming, by name; loaded one by one on demand."""

__all__ = ["SOLVERS"]

_HERE = "baselines.robust_beamforming"

SOLVERS = {
    "pga": f"{_HERE}.pga:Pga",
    "pga-nominal": f"{_HERE}.pga:PgaNominal",
    "relaxation": f"{_HERE}.relaxation:Relaxation",
    "boblrbf": f"{_HERE}.boblrbf:Boblrbf",
    "boblrbf-phase1": f"{_HERE}.boblrbf:BoblrbfPhase1",
    "boblrbf-literal": f"{_HERE}.boblrbf:BoblrbfLiteral",
    "mrt-split": f"{_HERE}.closed_form:MrtSplit",
    "mrt-null": f"{_HERE}.closed_form:MrtNull",
    "zf-split": f"{_HERE}.closed_form:ZfSplit",
    "zf-null": f"{_HERE}.closed_form:ZfNull",
    "rzf-split": f"{_HERE}.closed_form:RzfSplit",
    "rzf-null": f"{_HERE}.closed_form:RzfNull",
}
