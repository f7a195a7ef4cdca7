"""Solvers of multi-user imaging, by name; loaded one by one on demand."""

__all__ = ["DESIGN_SOLVERS", "DIFFUSION_SOLVERS", "RECOVERY_SOLVERS"]

_HERE = "baselines.multi_user_imaging"

RECOVERY_SOLVERS: dict[str, str] = {
    "joint": f"{_HERE}.joint:Joint",
    "two-step": f"{_HERE}.two_step:TwoStep",
    "two-step-l1": f"{_HERE}.two_step:TwoStepL1",
    "two-step-plain": f"{_HERE}.two_step:TwoStepPlain",
    "two-step-literal": f"{_HERE}.two_step:TwoStepLiteral",
    "two-step-tls-sliced": f"{_HERE}.two_step:TwoStepTlsSliced",
    "two-step-lms": f"{_HERE}.two_step:TwoStepLms",
    "two-step-lms-sliced": f"{_HERE}.two_step:TwoStepLmsSliced",
    "two-step-lms-genie": f"{_HERE}.two_step:TwoStepLmsGenie",
    "two-step-mrc": f"{_HERE}.two_step:TwoStepMrc",
    "two-step-central": f"{_HERE}.two_step:TwoStepCentral",
    "step-1": f"{_HERE}.two_step:StepOne",
    "lms-alone": f"{_HERE}.two_step:LmsAlone",
    "consensus-statistics": f"{_HERE}.consensus:ConsensusStatistics",
    "ls": f"{_HERE}.least_squares:LeastSquares",
    "ls-genie": f"{_HERE}.least_squares:LeastSquaresGenie",
    "oracle-ls": f"{_HERE}.least_squares:OracleLeastSquares",
    "oracle-ls-step1": f"{_HERE}.least_squares:OracleLeastSquaresStep1",
    "sparse-group-lasso": f"{_HERE}.lasso:SparseGroupLasso",
    "sparse-group-lasso-genie": f"{_HERE}.lasso:SparseGroupLassoGenie",
    "sbl": f"{_HERE}.bayes:SparseBayes",
    "block-sbl": f"{_HERE}.bayes:BlockSparseBayes",
    "sbl-genie": f"{_HERE}.bayes:SparseBayesGenie",
    "block-sbl-genie": f"{_HERE}.bayes:BlockSparseBayesGenie",
}

DESIGN_SOLVERS: dict[str, str] = {
    "a-optimal": f"{_HERE}.a_optimal:AOptimal",
    "a-optimal-prior": f"{_HERE}.a_optimal:AOptimalPrior",
    "support-oracle": f"{_HERE}.a_optimal:SupportOracle",
    "penalty-dca": f"{_HERE}.penalty_dca:PenaltyDca",
    "penalty-dca-randomised": f"{_HERE}.penalty_dca:PenaltyDcaRandomised",
    "rank-one": f"{_HERE}.rank_one:RankOne",
    "isotropic": f"{_HERE}.fixed_designs:Isotropic",
    "matched": f"{_HERE}.fixed_designs:Matched",
    "mrt-only": f"{_HERE}.fixed_designs:MrtOnly",
}

DIFFUSION_SOLVERS: dict[str, str] = {
    "constant-step": f"{_HERE}.schedules:ConstantStep",
    "step-schedule": f"{_HERE}.schedules:StepSchedule",
    "fading-schedule": f"{_HERE}.schedules:FadingSchedule",
    "rare-exchange": f"{_HERE}.schedules:RareExchange",
    "alone": f"{_HERE}.schedules:Alone",
    "relative-variance": f"{_HERE}.schedules:RelativeVariance",
    "one-step-greedy-oracle": f"{_HERE}.schedules:OneStepGreedyOracle",
}
