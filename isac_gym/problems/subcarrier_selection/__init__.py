"""Selection of subcarriers that locate a person and recognise what the person does."""

from isac_gym.core.family import EnvironmentEntry, Family

__all__ = ["FAMILY", "RESPIRATION_FAMILY"]

_HERE = "isac_gym.problems.subcarrier_selection"

FAMILY = Family(
    name="subcarrier_selection",
    title="Subcarrier selection: which tones of OFDM links locate a person and tell the activity",
    paper="Synergistic Localization and Sensing in MIMO-OFDM Systems via Mixed-Integer Bilevel "
    "Learning (SPG-MIBO)",
    problem=f"{_HERE}.model:SubcarrierSelection",
    environments=(
        EnvironmentEntry(
            id="isac/SubcarrierSelectionStatic-v0",
            process=f"{_HERE}.building:MaskBuilding",
            doc="a mask is built tone by tone; the reward is the fall of the validation error",
        ),
        EnvironmentEntry(
            id="isac/SubcarrierSelection-v0",
            process=f"{_HERE}.tracking:MaskTracking",
            preset="tracking",
            doc="64 frames under moving interference that only acquired subcarriers show",
            parallel_id="isac/SubcarrierSelection-v0",
        ),
    ),
    formulas=(
        "channel       H(f) = sum_l g_l exp(-j 2 pi f d_l / c): walls, furniture, a moving person",
        "features      of Y / gain - H_empty: mean power, fluctuation, phase between neighbours",
        "error         e_t = sum |yhat - y|^2 / sum |y - mean|^2,  t = place, activity",
        "estimator     kernel ridge on sum over selected subcarriers of |x_j - x_j'|^2",
        "objective     1 - (e_place + e_activity) / 2 on windows of unseen places",
        "decision      mask of S subcarriers, between S/3 and S/2 of them",
    ),
)

RESPIRATION_FAMILY = Family(
    name="subcarrier_respiration",
    title="Subcarrier selection for breathing: which tones of OFDM links tell the rate",
    paper="Synergistic Localization and Sensing in MIMO-OFDM Systems via Mixed-Integer Bilevel "
    "Learning (SPG-MIBO), its respiration task; the closed form is ours",
    problem=f"{_HERE}.respiration:SubcarrierRespiration",
    environments=(
        EnvironmentEntry(
            id="isac/SubcarrierRespiration-v0",
            process=f"{_HERE}.respiration_tracking:RespirationTracking",
            preset="tracking",
            doc="64 frames of a person who moves, under bands that wander; masks of few tones",
            parallel_id="isac/SubcarrierRespiration-v0",
        ),
    ),
    formulas=(
        "level         20 log10 |Y| of 64 packets at 4 Hz, minus its mean, times a Hann window",
        "spectrum      S_j(f) = |sum_t level_j(t) exp(-j 2 pi f t)|^2 / sum over f, 0.15 to 0.6 Hz",
        "rate          peak of a parabola through the top of sum over selected j of S_j(f)",
        "objective     1 - mean |rate - truth| / 4.5 per minute on windows of unseen places",
        "decision      mask of S subcarriers, between S/3 and S/2 of them",
    ),
)
