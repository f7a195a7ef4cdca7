"""Hidden test sets: commit to a salt by its hash, play on it in private, reveal it in the end.

How a hidden set works:

1. The board's keeper makes a salt (:func:`new_salt`), keeps it to himself and publishes
   :func:`commit_salt` of it in the task. Nobody can draw the set without the salt, and the keeper
   cannot exchange the set afterwards.
2. Contestants hand in weights (data, not code). The keeper plays them on :func:`hidden_seeds`.
3. When the set is retired, :func:`reveal` writes the salt into the task; everyone can then check
   the commitment, draw the set and repeat every hidden score.

No task shipped here has a live hidden set: a salt inside a public repository hides nothing, and a
commitment to a thrown-away salt would prove nothing. ``data/templates/hidden-set.json`` shows the
entry.
"""

import hashlib
import secrets

from isac_gym.core import lane_seeds
from leaderboard.tasks import HiddenSet, Task, TaskError

__all__ = ["commit_salt", "hidden_seeds", "new_salt", "reveal"]

_SHORTEST_SALT = 32


def new_salt() -> str:
    """A fresh salt of 256 random bits, hexadecimal."""
    return secrets.token_hex(32)


def commit_salt(name: str, salt: str) -> str:
    """Commitment to the salt of the set called ``name``: SHA-256, hexadecimal.

    Raises:
        TaskError: The salt is shorter than 32 characters and could be guessed.
    """
    if len(salt) < _SHORTEST_SALT:
        raise TaskError(f"salt: {len(salt)} characters, at least {_SHORTEST_SALT}; see new_salt().")
    return hashlib.sha256(f"isac_gym hidden set\n{name}\n{salt}".encode()).hexdigest()


def hidden_seeds(task: Task, salt: str) -> list[int]:
    """Lane seeds of a task's hidden set.

    Raises:
        TaskError: The task has no hidden set, or the salt is not the one committed to.
    """
    hidden = _hidden_set(task)
    if commit_salt(hidden.name, salt) != hidden.commitment:
        raise TaskError(f"{task.id}: the salt does not match the commitment of {hidden.name}.")
    return lane_seeds(hidden.name, hidden.count, salt=salt)


def reveal(task: Task, salt: str) -> Task:
    """The task with the salt of its retired hidden set made public; its digest does not change.

    Raises:
        TaskError: The task has no hidden set, or the salt is not the one committed to.
    """
    hidden_seeds(task, salt)
    hidden = _hidden_set(task).model_copy(update={"revealed_salt": salt})
    instances = task.instances.model_copy(update={"hidden": hidden})
    return task.model_copy(update={"instances": instances})


def _hidden_set(task: Task) -> HiddenSet:
    if task.instances.hidden is None:
        raise TaskError(f"{task.id}: this task has no hidden set.")
    return task.instances.hidden
