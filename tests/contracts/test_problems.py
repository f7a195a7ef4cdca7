import pytest

from isac_gym.core import family
from isac_gym.testing import PROBLEM_CHECKS, check_problem
from tests.conftest import extends_another, is_brief_preset, lightest_preset, preset_ids
from tests.contracts.toy import ToyProblem, ToyScenario

ONCE = {"scenario_fields", "scenario_errors", "scenario_presets"}  # the same for all presets
SHAPED = {"records", "sampling_rows", "evaluation_rows", "projection", "gradients"}  # by preset


def cases():
    for name, preset in preset_ids():
        # frames of imaging are slow to solve, not to draw: the paper's size there
        first = "paper" if name == "imaging_recovery" else lightest_preset(name)
        for check in PROBLEM_CHECKS:
            if check in ONCE and preset != first:
                continue
            is_brief = preset == first or (check in SHAPED and is_brief_preset(name, preset))
            if check in ONCE and extends_another(name):
                is_brief = False
            marks = [] if is_brief else [pytest.mark.slow]
            if check == "cuda":
                marks = [pytest.mark.gpu]
            yield pytest.param(name, preset, check, id=f"{name}-{preset}-{check}", marks=marks)


@pytest.mark.parametrize(("name", "preset", "check"), list(cases()))
def test_problem__conforms(name, preset, check):
    PROBLEM_CHECKS[check](family(name).make_problem(preset))


@pytest.mark.parametrize("scenario", [ToyScenario(), ToyScenario.preset("wide")])
def test_toy_problem__conforms(scenario):
    check_problem(ToyProblem(scenario=scenario))
