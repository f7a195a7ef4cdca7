import json

import pytest

from leaderboard.hidden import commit_salt, hidden_seeds, new_salt, reveal
from leaderboard.tasks import DATA, HiddenSet, TaskError, tasks

SALT = "0123456789abcdef" * 4
NAME = "power_control/paper-v0/hidden"


@pytest.fixture
def with_hidden(paper):
    hidden = HiddenSet(name=NAME, count=16, commitment=commit_salt(NAME, SALT))
    instances = paper.instances.model_copy(update={"hidden": hidden})
    return paper.model_copy(update={"instances": instances})


def test_commit_salt__depends_on_salt_and_set_and_refuses_short_salts():
    assert commit_salt(NAME, SALT) == commit_salt(NAME, SALT)
    assert commit_salt(NAME, SALT) != commit_salt(NAME, SALT[::-1])
    assert commit_salt(NAME, SALT) != commit_salt(NAME + "2", SALT)
    with pytest.raises(TaskError, match="at least 32"):
        commit_salt(NAME, "short")


def test_new_salt__is_long_and_never_the_same():
    assert len(new_salt()) == 64
    assert new_salt() != new_salt()


def test_hidden_seeds__need_the_salt_and_differ_from_the_public_set(with_hidden, paper):
    seeds = hidden_seeds(with_hidden, SALT)
    assert len(set(seeds)) == 16
    assert not set(seeds) & set(paper.seeds())
    with pytest.raises(TaskError, match="does not match the commitment"):
        hidden_seeds(with_hidden, SALT[::-1])
    with pytest.raises(TaskError, match="no hidden set"):
        hidden_seeds(paper, SALT)


def test_reveal__publishes_the_salt_without_changing_the_task(with_hidden):
    revealed = reveal(with_hidden, SALT)
    assert revealed.instances.hidden.revealed_salt == SALT
    assert revealed.digest() == with_hidden.digest()
    with pytest.raises(TaskError, match="commitment"):
        reveal(with_hidden, SALT[::-1])


def test_shipped_tasks__claim_no_live_hidden_set():
    assert all(each.instances.hidden is None for each in tasks().values())
    template = json.loads((DATA / "templates" / "hidden-set.json").read_text())["hidden"]
    assert set(template) <= set(HiddenSet.model_fields)
