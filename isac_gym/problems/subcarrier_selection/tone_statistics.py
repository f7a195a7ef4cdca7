"""What single tones tell: statistics of a room that an agent may see, from training and validation.

All are functions of ``SubcarrierSelection.known``, never of the scored windows, and use the cheap
evaluator (soft neighbours) whatever the scenario scores with.
"""

import torch
from torch import Tensor

from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["fisher_score", "importances"]

_PLACE = 2  # entries of a label that are the place


def importances(
    problem: SubcarrierSelection, instance: SubcarrierInstance
) -> tuple[Tensor, Tensor]:
    """Both errors' explained share with a tone alone and rise without it, (B, S, 2) each.

    Args:
        problem: Its scenario gives the tones.
        instance: Batch size B; only its training and validation windows are used.
    """
    known, tones = problem.known(instance), problem.scenario.num_tones
    alone = torch.eye(tones, dtype=torch.bool, device=instance.device)
    every = torch.ones_like(alone[:1])
    masks = torch.cat([alone, ~alone, every]).expand(instance.batch_size, -1, -1)
    errors = problem.mask_errors(known, masks, evaluator="soft_neighbours")
    single, without, whole = errors.split([tones, tones, 1], 1)
    return 1 - single, without - whole


def fisher_score(instance: SubcarrierInstance) -> Tensor:
    """Variance between over variance within activities, mean over features, (B, S).

    Only training windows are used. Source: Fisher 1936, for each feature by itself.
    """
    raw = instance.train_label * instance.label_scale[:, None] + instance.label_mean[:, None]
    one_hot = raw[..., _PLACE:]  # (B, J, 3)
    count = one_hot.sum(1)
    x = instance.train.flatten(2)  # (B, J, S C)
    eps = torch.finfo(x.dtype).eps
    centre = (one_hot.mT @ x) / count.clamp_min(eps)[..., None]  # (B, 3, S C)
    share = (count / x.shape[1])[..., None]
    between = (share * (centre - x.mean(1, keepdim=True)).square()).sum(1)
    within = (x.square().mean(1) - (share * centre.square()).sum(1)).clamp_min(eps)
    return (between / within).unflatten(-1, instance.train.shape[2:]).mean(-1)
