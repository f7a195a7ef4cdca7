"""Steps and penalties of the filters, chosen on frames that no figure shows.

One search per setting, on eight frames of a seed of their own: the step without penalties, step and
element penalty together, both penalties at that step, then the step again. The same steps and
penalties serve both passes of the two-step scheme, as in the paper. What is minimised is the mean
squared error over the last samples.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import replace

from baselines.multi_user_imaging.figures.draws import Frames, mean_db
from baselines.multi_user_imaging.figures.filters import Variant, run, steady

__all__ = [
    "DRAWS",
    "PENALTIES",
    "PROTOTYPE_KNOWN",
    "PROTOTYPE_TWO_STEP",
    "SEED",
    "STEPS",
    "TUNED",
    "tune",
    "tuned",
]

SEED = "tuning"
DRAWS = 8
STEPS = (0.3, 0.6, 1.0)
PENALTIES = {
    "tls": (0.0, 0.1, 0.2, 0.4, 0.8),
    "tls, symbols known": (0.0, 0.02, 0.05, 0.1, 0.2),
    "lms": (0.0, 0.005, 0.01, 0.02, 0.05),
}
_Choice = tuple[float, float, float]
# Setting and occupied voxels: step, l1, l21 of the plain filter, with l1, and with both.
TUNED: dict[tuple[str, int], tuple[_Choice, _Choice, _Choice]] = {
    ("blob", 2): ((0.3, 0, 0), (0.3, 0.4, 0), (0.3, 0.4, 0.1)),
    ("blob", 4): ((0.3, 0, 0), (0.3, 0.2, 0), (0.3, 0.1, 0.4)),
    ("blob", 8): ((0.3, 0, 0), (0.3, 0.2, 0), (0.3, 0.1, 0.4)),
    ("blob", 16): ((0.3, 0, 0), (0.3, 0.2, 0), (0.3, 0.1, 0.1)),
    ("blob", 32): ((0.3, 0, 0), (0.6, 0.2, 0), (0.6, 0.1, 0.4)),
    ("aligned", 2): ((0.3, 0, 0), (0.3, 0.4, 0), (0.3, 0.1, 0.4)),
    ("aligned", 4): ((0.3, 0, 0), (0.3, 0.2, 0), (0.3, 0.1, 0.4)),
    ("aligned", 8): ((0.3, 0, 0), (0.3, 0.2, 0), (0.6, 0.0, 0.8)),
    ("aligned", 16): ((0.3, 0, 0), (0.3, 0.2, 0), (0.6, 0.0, 0.8)),
    ("central blob", 4): ((0.3, 0, 0), (0.3, 0.2, 0), (0.3, 0.1, 0.4)),
    ("central aligned", 8): ((0.3, 0, 0), (0.3, 0.2, 0), (0.6, 0.0, 0.8)),
    ("known blob", 4): ((0.6, 0, 0), (0.6, 0.1, 0), (0.6, 0.05, 0.05)),
    ("known aligned", 8): ((0.6, 0, 0), (0.6, 0.05, 0), (0.6, 0.0, 0.1)),
    ("image", 8): ((0.6, 0, 0), (0.6, 0.2, 0), (0.6, 0.2, 0.2)),
    ("lms image", 8): ((1.0, 0, 0), (1.0, 0.05, 0), (1.0, 0.05, 0.0)),
    ("lms blob", 4): ((0.6, 0, 0), (0.6, 0.02, 0), (0.6, 0.02, 0.0)),
    ("lms aligned", 8): ((0.6, 0, 0), (0.6, 0.01, 0), (0.6, 0.0, 0.05)),
}
_NAMES = ("none", "l1", "l1+l21")
_KINDS = {
    "": Variant(),
    "central ": Variant(is_central=True),
    "known ": Variant(knows_symbols=True),
    "lms ": Variant(estimator="lms", is_sliced=True),
}

# What the independent prototype ran; which of its two penalties together is which was unsaid.
PROTOTYPE_TWO_STEP = {
    "none": Variant(),
    "l1": Variant(l1=0.1, first=(0.15, 0.15)),
    "l1+l21": Variant(l1=0.05, l21=0.05, first=(0.15, 0.15)),
}
PROTOTYPE_KNOWN = {
    "none": Variant(knows_symbols=True),
    "l1": Variant(l1=0.1, knows_symbols=True),
    "l1+l21": Variant(l1=0.1, l21=0.05, knows_symbols=True),
    "l21": Variant(l21=0.1, knows_symbols=True),
}


def tuned(setting: str, count: int, name: str) -> Variant:
    """Tuned variant of a setting: ``blob`` or ``aligned``, with a kind of filter before it.

    Args:
        setting: As in :data:`TUNED`.
        count: Occupied voxels.
        name: ``none``, ``l1`` or ``l1+l21``.
    """
    setting = "blob" if count == 32 and setting == "aligned" else setting  # all are occupied
    kind = next(k for k in reversed(_KINDS) if setting.startswith(k))
    step, l1, l21 = TUNED[setting, count][_NAMES.index(name)]
    return replace(_KINDS[kind], step=step, l1=l1, l21=l21)


def tune(
    frames: Frames,
    variant: Variant,
    *,
    steps: Sequence[float] = STEPS,
    penalties: Sequence[float] = PENALTIES["tls"],
) -> dict[str, Variant]:
    """Best ``none``, ``l1`` and ``l1+l21`` versions of a variant.

    Args:
        frames: Not those that are reported.
        variant: Everything but step and penalties.
        steps: Steps to try.
        penalties: Penalties to try; 0 among them, so that more freedom never tunes to less.
    """
    plain = replace(variant, l1=0.0, l21=0.0)
    none = _best(frames, [replace(plain, step=mu) for mu in steps])
    l1 = _best(
        frames, [replace(plain, step=m, l1=p) for m, p in itertools.product(steps, penalties)]
    )
    pairs = itertools.product(penalties, penalties)
    both = _best(frames, [replace(l1, l1=p, l21=q) for p, q in pairs if p + q > 0])
    both = _best(frames, [replace(both, step=mu) for mu in steps])
    return {"none": none, "l1": l1, "l1+l21": both}


def _best(frames: Frames, variants: Iterable[Variant]) -> Variant:
    def error(variant: Variant) -> float:
        return mean_db(steady(run(frames, variant).second).double().nan_to_num(1e9).numpy())

    return min(variants, key=error)
