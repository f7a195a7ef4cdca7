"""Selection of subcarriers that locate a person and recognise what the person does."""

from isac_gym.core.family import Family

__all__ = ["FAMILY"]

_HERE = "isac_gym.problems.subcarrier_selection"

FAMILY = Family(
    name="subcarrier_selection",
    title="Subcarrier selection: which tones of OFDM links locate a person and tell the activity",
    paper="Synergistic Localization and Sensing in MIMO-OFDM Systems via Mixed-Integer Bilevel "
    "Learning (SPG-MIBO)",
    problem=f"{_HERE}.model:SubcarrierSelection",
    environments=(),
    formulas=(
        "channel       H(f) = sum_l g_l exp(-j 2 pi f d_l / c): walls, furniture, a moving person",
        "features      of Y / gain - H_empty: mean power, fluctuation, phase between neighbours",
        "error         e_t = sum |yhat - y|^2 / sum |y - mean|^2,  t = place, activity",
        "estimator     kernel ridge on sum over selected subcarriers of |x_j - x_j'|^2",
        "objective     1 - (e_place + e_activity) / 2 on windows of unseen places",
        "decision      mask of S subcarriers, between S/3 and S/2 of them",
    ),
)
