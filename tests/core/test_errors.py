import pytest

from isac_gym.core import errors


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ScenarioError", ValueError),
        ("ShapeError", ValueError),
        ("InfeasibleError", ValueError),
        ("SolverError", RuntimeError),
        ("SubmissionError", ValueError),
    ],
)
def test_errors__are_isac_errors_and_builtins(name, builtin):
    error = getattr(errors, name)
    assert issubclass(error, errors.IsacError)
    assert issubclass(error, builtin)


def test_errors__all_lists_every_class():
    classes = {n for n, v in vars(errors).items() if isinstance(v, type)}
    assert classes == set(errors.__all__)
