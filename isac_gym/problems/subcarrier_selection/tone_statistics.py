"""What single tones tell: statistics of a room that an agent may see, from training and validation.

None looks at the scored windows. Errors are those of soft neighbours, the cheap evaluator, whatever
the scenario scores with.
"""

import torch
from torch import Tensor

from isac_gym.physics.probes import soft_neighbours_predict, task_errors
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["explained_alone", "fisher_score", "loss_without"]


def explained_alone(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Share of place and activity that each tone explains alone, (B, S, 2), at most 1.

    Args:
        problem: Its scenario gives the tones.
        instance: Batch size B; only its training and validation windows are used.
    """
    i, tones = instance, problem.scenario.num_tones

    def apart(samples: Tensor) -> Tensor:
        """Samples (B, N, S, C) of every tone in a lane of its own, (B S, N, 1, C)."""
        return samples.transpose(1, 2).flatten(0, 1)[:, :, None]

    train, held = apart(i.train), apart(i.val)
    label, wanted = (y.repeat_interleave(tones, 0) for y in (i.train_label, i.val_label))
    predicted = soft_neighbours_predict(train, label, held, torch.ones_like(train[:, :1, :, 0]))
    errors = task_errors(predicted, wanted, num_location=problem.num_place)
    return 1 - errors[:, 0].unflatten(0, (-1, tones))


def loss_without(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Rise of both errors where one tone of all is left out, (B, S, 2); arguments as above."""
    alone = torch.eye(problem.scenario.num_tones, dtype=torch.bool, device=instance.device)
    masks = torch.cat([torch.ones_like(alone[:1]), ~alone]).expand(instance.batch_size, -1, -1)
    known = problem.known(instance)
    errors = problem.mask_errors(known, masks, evaluator="soft_neighbours")
    return errors[:, 1:] - errors[:, :1]


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
