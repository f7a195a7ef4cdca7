"""Solvers of OTA-FEEL, by name; loaded one by one on demand."""

__all__ = ["SOLVERS"]

_HERE = "baselines.ota_feel"

SOLVERS: dict[str, str] = {
    "ao": f"{_HERE}.alternating:Alternating",
    "ao-null-space": f"{_HERE}.alternating:AlternatingNullSpace",
}
