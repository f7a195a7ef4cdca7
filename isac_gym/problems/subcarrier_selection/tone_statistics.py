"""What single tones tell: statistics of a room that an agent may see, from training and validation.

All are functions of ``SubcarrierSelection.known``, never of the scored windows, and use the cheap
evaluator (soft neighbours) whatever the scenario scores with.
"""

import torch
from torch import Tensor

from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["explained_alone", "fisher_score", "loss_without"]


def explained_alone(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Share of place and activity that each tone explains alone, (B, S, 2), at most 1.

    Args:
        problem: Its scenario gives the tones.
        instance: Batch size B; only its training and validation windows are used.
    """
    return 1 - _errors(problem, instance, _each(problem, instance))


def loss_without(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Rise of both errors where one tone of all is left out, (B, S, 2); arguments as above."""
    alone = _each(problem, instance)
    errors = _errors(problem, instance, torch.cat([torch.ones_like(alone[:1]), ~alone]))
    return errors[:, 1:] - errors[:, :1]


def _each(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Masks of a single tone, (S, S) bool."""
    return torch.eye(problem.scenario.num_tones, dtype=torch.bool, device=instance.device)


def _errors(problem: SubcarrierSelection, instance: SubcarrierInstance, masks: Tensor) -> Tensor:
    """Validation errors of masks (Q, S), (B, Q, 2)."""
    everywhere = masks.expand(instance.batch_size, -1, -1)
    return problem.mask_errors(problem.known(instance), everywhere, evaluator="soft_neighbours")


def fisher_score(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Variance between over variance within activities, mean over features, (B, S).

    Only training windows are used. Source: Fisher 1936, for each feature by itself.
    """
    raw = instance.train_label * instance.label_scale[:, None] + instance.label_mean[:, None]
    one_hot = raw[..., problem.num_place :]  # (B, J, classes)
    count = one_hot.sum(1)
    x = instance.train.flatten(2)  # (B, J, S C)
    eps = torch.finfo(x.dtype).eps
    centre = (one_hot.mT @ x) / count.clamp_min(eps)[..., None]  # (B, classes, S C)
    share = (count / x.shape[1])[..., None]
    between = (share * (centre - x.mean(1, keepdim=True)).square()).sum(1)
    within = (x.square().mean(1) - (share * centre.square()).sum(1)).clamp_min(eps)
    return (between / within).unflatten(-1, instance.train.shape[2:]).mean(-1)
