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
    "convex-probe": f"{_HERE}.convex_probe:ConvexProbe",
    "group-lasso": f"{_HERE}.group_lasso:GroupLasso",
    "single-tone-fit": f"{_HERE}.filters:SingleToneFit",
    "mutual-information": f"{_HERE}.filters:MutualInformation",
    "fisher": f"{_HERE}.filters:FisherScore",
    "top-variance": f"{_HERE}.filters:TopVariance",
    "comb": f"{_HERE}.fixed:Comb",
    "random": f"{_HERE}.fixed:RandomMask",
    "all-tones": f"{_HERE}.fixed:AllTones",
    "best-random": f"{_HERE}.chance:BestRandom",
    "greedy-forward": f"{_HERE}.greedy:GreedyForward",
    "greedy-backward": f"{_HERE}.greedy:GreedyBackward",
    "swap": f"{_HERE}.swap:GreedySwap",
    "annealing": f"{_HERE}.chance:Annealing",
    "genetic": f"{_HERE}.chance:Genetic",
    "best-known": f"{_HERE}.swap:BestKnown",
    "exhaustive-val": f"{_HERE}.exhaustive:ExhaustiveValidation",
    "exhaustive": f"{_HERE}.exhaustive:Exhaustive",
}

RESPIRATION_SOLVERS: dict[str, str] = {
    "all-tones": f"{_HERE}.fixed:AllTones",
    "comb": f"{_HERE}.fixed:Comb",
    "random": f"{_HERE}.fixed:RandomMask",
    "peakiness": f"{_HERE}.respiration:Peakiness",
    "single-tone": f"{_HERE}.respiration:SingleTone",
    "greedy": f"{_HERE}.respiration:Greedy",
    "swap": f"{_HERE}.respiration:Swap",
    "exhaustive-labelled": f"{_HERE}.respiration_exhaustive:ExhaustiveLabelled",
    "exhaustive": f"{_HERE}.respiration_exhaustive:Exhaustive",
}
