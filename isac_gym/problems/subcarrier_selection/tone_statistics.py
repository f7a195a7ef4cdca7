"""What single tones tell: statistics of a room that an agent may see, from training and validation.

None looks at the scored windows. Errors are those of soft neighbours, the cheap evaluator, whatever
the scenario scores with.
"""

import torch
from torch import Tensor

from isac_gym.physics.probes import soft_neighbours_predict, task_errors
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance

__all__ = ["activities", "explained_alone", "fisher_score", "fisher_scores", "loss_without"]


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
    """Separation of the activities by each tone's features, the mean over the features, (B, S).

    Only training windows are used. Source: Fisher 1936, for each feature by itself.
    """
    return fisher_scores(instance.train, activities(problem, instance)).mean(-1)


def activities(problem: SubcarrierSelection, instance: SubcarrierInstance) -> Tensor:
    """Activities of the training windows, one-hot (B, J, classes) float64."""
    i = instance
    raw = (i.train_label * i.label_scale[:, None] + i.label_mean[:, None])[..., problem.num_place :]
    return torch.nn.functional.one_hot(raw.argmax(-1), raw.shape[-1]).to(torch.float64)


def fisher_scores(x: Tensor, member: Tensor) -> Tensor:
    """Variance of the class means over the mean variance in the classes, (B, S, C).

    Args:
        x: Features, (B, J, S, C).
        member: Classes, one-hot (B, J, classes).

    Returns:
        Zero where a feature is constant.
    """
    member = member.to(x.dtype)
    size = member.sum(1)  # (B, classes)
    mean = torch.einsum("bjc,bjsf->bcsf", member, x) / size.clamp_min(1)[..., None, None]
    own = torch.einsum("bjc,bcsf->bjsf", member, mean)
    within = (x - own).square().mean(1)
    between = (own - x.mean(1, keepdim=True)).square().mean(1)
    spread = within + between
    floor = torch.finfo(x.dtype).eps * x.square().mean(1)
    ratio = between / within.clamp_min(torch.finfo(x.dtype).tiny)
    return torch.where(spread > floor, ratio, 0)
