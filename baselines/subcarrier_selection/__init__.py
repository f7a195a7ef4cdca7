"""Solvers of subcarrier selection, by name; loaded one by one on demand."""

__all__ = ["RESPIRATION_SOLVERS", "SOLVERS"]

_HERE = "baselines.subcarrier_selection"

SOLVERS: dict[str, str] = {
    "spg-mibo": f"{_HERE}.spg_mibo:SpgMibo",
    "spg-mibo-literal": f"{_HERE}.spg_mibo:SpgMiboLiteral",
    "penalty-mibo": f"{_HERE}.penalty:PenaltyMibo",
    "localisation-only": f"{_HERE}.separate:LocalisationOnly",
    "localisation-only-matched": f"{_HERE}.separate:LocalisationOnlyMatched",
    "sensing-only": f"{_HERE}.separate:SensingOnly",
    "concrete": f"{_HERE}.gumbel:ConcreteGates",
    "gumbel-topk": f"{_HERE}.gumbel:GumbelTopK",
}

RESPIRATION_SOLVERS: dict[str, str] = {}
