"""Robust beamforming against CSI errors with a multi-target localisation bound (BOBLRBF)."""

from isac_gym.core.family import EnvironmentEntry, Family

__all__ = ["FAMILY", "FRONT_FAMILY"]

_HERE = "isac_gym.problems.robust_beamforming"
_PAPER = "X. Chen, K. Yang: GPU-Accelerated Parallel Bilevel Optimization for Robust 6G ISAC"
_FORMULAS = (
    "covariances   R_l = sum_k v_lk v_lk^H + C_l C_l^H,  tr R_l <= P_l",
    "worst SINR    min over ||e_l|| <= eps_l of the SINR at h_l + e_l, exact (S-lemma)",
    "rate          f1 = sum_ck w_ck log2(1 + SINR_ck) / upper bound",
    "localisation  f2 = lower bound / CRLB,  CRLB = tr EFIM^-1 over all target coordinates",
)

FAMILY = Family(
    name="robust_beamforming",
    title="Robust beamforming: worst-case sum rate against the localisation bound of targets",
    paper=_PAPER,
    problem=f"{_HERE}.model:RobustBeamforming",
    environments=(
        EnvironmentEntry(
            id="isac/RobustBeamformingStatic-v0",
            process=f"{_HERE}.process:StaticRobustBeamforming",
            doc="one decision per instance, any preference: one-shot learned optimisers",
            parallel_id="isac/RobustBeamformingStatic-v0",
        ),
        EnvironmentEntry(
            id="isac/RobustBeamforming-v0",
            process=f"{_HERE}.dynamic:DynamicRobustBeamforming",
            doc="ageing channel estimates and pilots, moving targets that are tracked",
            parallel_id="isac/RobustBeamforming-v0",
        ),
    ),
    formulas=(
        *_FORMULAS,
        "objective     -max(p (1 - f1), (1 - p) (1 - f2)), preference p in [0, 1]",
    ),
)

FRONT_FAMILY = Family(
    name="robust_front",
    title="The whole front of robust beamforming: 7 points per channel",
    paper=_PAPER,
    problem=f"{_HERE}.front:RobustFront",
    environments=(),
    formulas=(*_FORMULAS, "objective     hypervolume of {(f1, f2)} over (0, 0), at most 1"),
)
