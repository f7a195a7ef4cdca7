"""Over-the-air federated learning whose devices locate a target together."""

from isac_gym.core.family import EnvironmentEntry, Family

__all__ = ["FAMILY"]

_HERE = "isac_gym.problems.ota_feel"

FAMILY = Family(
    name="ota_feel",
    title="OTA-FEEL: over-the-air aggregation whose echoes locate a target",
    paper="S. Asaad, H. Tabassum, P. Wang: Multi-objective Optimization for Over-the-Air Federated "
    "Edge Learning-enabled Collaborative Integrated Sensing and Communications",
    problem=f"{_HERE}.model:OtaFeel",
    environments=(
        EnvironmentEntry(
            id="isac/OtaFeel-v0",
            process=f"{_HERE}.surrogate:OtaFeelSurrogate",
            preset="joint",
            doc="20 rounds without learning: ageing channels known late, a belief on the target",
            parallel_id="isac/OtaFeel-v0",
        ),
        EnvironmentEntry(
            id="isac/OtaFeelFull-v0",
            process=f"{_HERE}.federated:OtaFeelFederated",
            doc="40 rounds at -10 dB: real training of every device, and a search for the target",
            parallel_id="isac/OtaFeelFull-v0",
            preset="joint-low-snr",
        ),
    ),
    formulas=(
        "received      y(t) = sum_k H_k C_k g_k(t) p_k(t) + z(t),  |C_k|_F^2 <= P_k",
        "nmse          sum_k |M(t)^H H_k C_k p_k(t) - W_k|^2 + noise |M(t)|^2, over sum_k |W_k|^2",
        "echo          u_k(t) = a_k sum_l a_l^T x_l(t) + noise,  |a_k| ~ 1 / r",
        "bound         tr (J + prior)^-1,  J = 2 Re sum_k (T / zeta^2) tr D_i^H R_k^-1 D_j",
        "objective     -(1 - w) 10 log10 nmse - w 10 log10 bound",
    ),
)
