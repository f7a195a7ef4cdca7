"""What most leaderboard tests need: a task, its instances, a good and a complete submission."""

import pytest
from safetensors.torch import load_file, save_file

from baselines import solve
from leaderboard.instances import load_instances
from leaderboard.results import Method
from leaderboard.submission import write_submission
from leaderboard.tasks import load_references, make_problem, task

PAPER = "power_control/paper-v0"
CONSTRAINED = "power_control/paper-constrained-v0"


@pytest.fixture(scope="session")
def paper():
    return task(PAPER)


@pytest.fixture(scope="session")
def instance(paper):
    return load_instances(paper)


@pytest.fixture(scope="session")
def references(paper):
    return load_references(paper)


@pytest.fixture(scope="session")
def optimum(paper, instance):
    """Optimal decisions of the paper task."""
    return solve(make_problem(paper), instance, "exact").decision


@pytest.fixture(scope="session")
def method():
    return Method(
        name="Our method",
        kind="classical",
        summary="Solves it.",
        code_url="https://example.org/code",
        code_commit="0123abc",
        contact="someone",
        licence="MIT",
        hardware="a laptop",
        versions={"isac_gym": "0.1.0", "torch": "2.9", "python": "3.11"},
    )


@pytest.fixture
def submission(tmp_path, method, optimum):
    """Folder of a valid submission for the paper task."""
    return write_submission(tmp_path / "mine", method=method, decisions={PAPER: optimum})


@pytest.fixture
def edit_arrays(submission):
    """Rewrite the arrays of the submission with a function of the dictionary of tensors."""

    def edit(change):
        path = submission / "decisions.safetensors"
        arrays = {name: t.clone() for name, t in load_file(path).items()}
        change(arrays)
        save_file({name: t.contiguous() for name, t in arrays.items()}, path)
        return submission

    return edit
