"""Max-min sensing power control in a multi-monostatic network (Rivera Figueroa et al. 2024)."""

from isac_gym.core.family import EnvironmentEntry, Family

__all__ = ["FAMILY"]

_PROCESS = "isac_gym.problems.power_control.process"

FAMILY = Family(
    name="power_control",
    title="Max-min sensing power control in a multi-monostatic ISAC network",
    paper=(
        "M. Rivera Figueroa, P. K. Bishoyi, M. Petrova: Power Allocation Scheme for Device-Free "
        "Localization in 6G ISAC Networks, arXiv:2402.10660"
    ),
    problem="isac_gym.problems.power_control.model:PowerControl",
    environments=(
        EnvironmentEntry(
            id="isac/PowerControlStatic-v0",
            process=f"{_PROCESS}:StaticPowerControl",
            doc="one decision per instance, true gains known: a contextual bandit",
            parallel_id="isac/PowerControlStatic-v0",
        ),
        EnvironmentEntry(
            id="isac/PowerControl-v0",
            process=f"{_PROCESS}:DynamicPowerControl",
            doc="fading, a moving target, gains known one slot late, a ramp limit on power",
            parallel_id="isac/PowerControl-v0",
        ),
        EnvironmentEntry(
            id="isac/PowerControlTracking-v0",
            process="isac_gym.problems.power_control.tracking:TrackingPowerControl",
            doc="the reward is the posterior position error of an extended Kalman filter",
            parallel_id="isac/PowerControlTracking-v0",
        ),
        EnvironmentEntry(
            id="isac/PowerControlEnergy-v0",
            process=f"{_PROCESS}:EnergyPowerControl",
            doc="each base station has an energy budget for the episode",
            parallel_id="isac/PowerControlEnergy-v0",
        ),
    ),
    formulas=(
        "decision      x = p / p_max, 0 <= x_i <= 1",
        "sensing SINR  gamma_s_i = x_i / (F x + n)_i",
        "comm SINR     gamma_c_i = x_i / (Q x + m)_i >= Gamma_i",
        "range error   sigma_i = c / (2 B_i sqrt(2 g gamma_s_i))",
        "objective     maxmin: 10 log10 min_i gamma_s_i (B_i / B_max)^2   (dB)",
        "              peb3d, peb2d: -10 log10 PEB^2, PEB^2 = tr (sum_i u_i u_i^T / sigma_i^2)^-1",
    ),
)
