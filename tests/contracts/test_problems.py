import pytest

from isac_gym.core import family
from isac_gym.testing import PROBLEM_CHECKS, check_problem
from tests.conftest import preset_ids, problem_names
from tests.contracts.toy import ToyProblem, ToyScenario

ONCE = {"scenario_fields", "scenario_errors", "scenario_presets"}  # the same for all presets
SHAPED = {"records", "sampling_rows", "evaluation_rows", "projection", "gradients"}  # by preset
LARGE = {"dense-19", "large"}
ONE_NUMBER = {"csi-05", "power-30", "power-35"}  # as another preset but for a number


def extends_another(name):
    """True if the scenario is that of another problem, whose presets are tested there."""
    kinds = {other: family(other).make_problem().scenario_type for other in problem_names()}
    mine = kinds.pop(name)
    return any(issubclass(mine, kind) for kind in kinds.values())


def cases():
    for name, preset in preset_ids():
        for check in PROBLEM_CHECKS:
            if check in ONCE and preset != "paper":
                continue
            is_brief = preset == "paper" or (check in SHAPED and preset not in LARGE | ONE_NUMBER)
            if extends_another(name):
                is_brief = preset == "paper" and check not in ONCE
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
