"""Networked imaging by several users: recovery, design of the probing, cooperative adaptation."""

from isac_gym.core.family import EnvironmentEntry, Family

__all__ = ["DESIGN_FAMILY", "DIFFUSION_FAMILY", "RECOVERY_FAMILY"]

_HERE = "isac_gym.problems.multi_user_imaging"
_PAPER = "Networked Integrated Sensing and Communications for 6G Wireless Systems, arXiv 2405.16398"
_FORMULAS = (
    "sent          tx(t) = p(t) + w_c c(t),  E[p p^H] = W_s,  c(t) QPSK",
    "received      y_k(t) = sum_n g_kn (G tx(t))_n x_n + noise",
    "information   Phi = (V^H V) o (g^H g),  rows of V are G tx(t)",
)

RECOVERY_FAMILY = Family(
    name="imaging_recovery",
    title="Multi-user imaging: K users reconstruct a sparse region from a frame of samples",
    paper=_PAPER,
    problem=f"{_HERE}.recovery:ImagingRecovery",
    environments=(),
    formulas=(
        *_FORMULAS,
        "msd           mean over users of |estimate_k - x|^2",
        "objective     10 log10 |x|^2 / msd",
    ),
)

DESIGN_FAMILY = Family(
    name="imaging_design",
    title="Multi-user imaging: probing covariance and data beam under power and SINR",
    paper=_PAPER,
    problem=f"{_HERE}.design:ImagingDesign",
    environments=(
        EnvironmentEntry(
            id="isac/ImagingBeam-v0",
            process=f"{_HERE}.imaging_beam:ImagingBeam",
            doc="one transmission per instance; reward f* / f with a certified optimum",
        ),
        EnvironmentEntry(
            id="isac/AdaptiveSensing-v0",
            process=f"{_HERE}.adaptive_sensing:AdaptiveSensing",
            preset="low-snr",
            doc="8 frames; each is probed with what the posterior of those before tells",
        ),
        EnvironmentEntry(
            id="isac/AdaptiveSensingMoving-v0",
            process=f"{_HERE}.adaptive_sensing:MovingAdaptiveSensing",
            preset="low-snr",
            doc="the target moves by a voxel in 3 of 10 frames; old frames are forgotten",
        ),
        EnvironmentEntry(
            id="isac/AdaptiveSensingFading-v0",
            process=f"{_HERE}.adaptive_sensing:FadingAdaptiveSensing",
            preset="low-snr",
            doc="sensing channels age; the design knows those of a frame ago",
        ),
        EnvironmentEntry(
            id="isac/AdaptiveSensingBudget-v0",
            process=f"{_HERE}.adaptive_sensing:BudgetAdaptiveSensing",
            preset="low-snr",
            doc="half the energy: every frame's power is chosen as well",
        ),
    ),
    formulas=(
        *_FORMULAS,
        "bound         f = tr (J_0 + L conj(G W G^H) o (g^H g) / noise)^-1",
        "SINR          |h^H w_c|^2 / (h^H W_s h + noise_c) >= minimum",
        "objective     -10 log10 f",
    ),
)

DIFFUSION_FAMILY = Family(
    name="imaging_diffusion",
    title="Multi-user imaging: users adapt and combine, block by block; exchange has a price",
    paper=_PAPER,
    problem=f"{_HERE}.diffusion:ImagingDiffusion",
    environments=(
        EnvironmentEntry(
            id="isac/CooperativeImaging-v0",
            process=f"{_HERE}.cooperative:CooperativeImaging",
            doc="step size, weights and sending of every user, 30 blocks of 25 samples",
            parallel_id="isac/CooperativeImaging-v0",
        ),
    ),
    formulas=(
        "regressor     u_k(t) = g_k o G tx(t),  E = V P",
        "adapt         psi_k = x_k + (step_k / E) (conj(u_k) e_k - P sparsity_k x_k / |x_k|)",
        "combine       x_k = sum over senders l of a_lk psi_l / sum of a_lk",
        "objective     10 log10 |x|^2 / msd after the block",
        "reward        gain of the objective / 10 - cost * share of links used / blocks",
    ),
)
