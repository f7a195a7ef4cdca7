"""Who holds which images: an uneven split by label, and the batches that are drawn from it."""

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams

__all__ = ["batch_index", "dirichlet_split", "log_gamma_draws"]

_CANDIDATES = 12  # of a gamma draw; each is refused with probability below 0.05
_ATTEMPTS = 2000  # of a split in which every device has enough


def log_gamma_draws(streams: Streams, name: str, *shape: int, concentration: float) -> Tensor:
    """Logarithms of gamma draws of scale 1, (B, *shape) float64; exact for any concentration > 0.

    Several candidates are drawn at once and the first that is accepted counts, so that the number
    of draws does not depend on their values; that none of them is has probability below 1e-15.

    Source: Marsaglia, Tsang 2000, "A simple method for generating gamma variables".
    """
    d = concentration + 1 - 1 / 3  # a concentration below 1 is raised by 1, and corrected at last
    x = streams.normal(f"{name}/normal", *shape, _CANDIDATES)
    u = streams.uniform(f"{name}/uniform", *shape, _CANDIDATES)
    v = (1 + x / (9 * d) ** 0.5) ** 3
    log_v = v.clamp_min(torch.finfo(v.dtype).tiny).log()
    is_taken = (v > 0) & (u.log() < x.square() / 2 + d - d * v + d * log_v)
    first = is_taken.to(torch.int64).argmax(-1, keepdim=True)
    raised = log_v.gather(-1, first)[..., 0]
    lower = 1 - streams.uniform(f"{name}/power", *shape)  # in (0, 1]
    return torch.log(torch.full_like(raised, d)) + raised + lower.log() / concentration


def dirichlet_split(
    labels: Tensor,
    num_devices: int,
    streams: Streams,
    *,
    concentration: float = 0.4,
    least_images: int = 16,
) -> tuple[Tensor, Tensor]:
    """Shuffle images over devices, each class in shares drawn from a Dirichlet distribution.

    A split that leaves a device fewer than ``least_images`` images is drawn again, lane by lane.

    Args:
        labels: Classes 0, 1, ... of the images, (n,) int64.
        num_devices: K.
        streams: One lane per split.
        concentration: Of the symmetric Dirichlet distribution; small: few classes per device.
        least_images: Of the device with fewest.

    Returns:
        ``order``, (B, n) int32, all images device by device, and ``offset``, (B, K + 1) int32:
        device k holds ``order[b, offset[b, k] : offset[b, k + 1]]``.

    Raises:
        ScenarioError: Fewer than K * least_images, or no split with enough was found.
    """
    total, batch = len(labels), streams.batch_size
    if num_devices * least_images > total:
        raise ScenarioError(
            f"least_images must be <= {total // num_devices} for {total} images of {num_devices} "
            f"devices, got {least_images}."
        )
    count = labels.bincount()
    ends = _class_ends(count, num_devices, streams, concentration, least_images)
    key = labels + streams.uniform("split/shuffle", total)
    by_class = key.argsort(-1)
    first = (count.cumsum(0) - count)[:, None]
    place = torch.arange(total, device=labels.device).expand(batch, total).contiguous()
    interval = torch.searchsorted((first + ends).flatten(1), place, right=True)
    device = interval % num_devices
    order = by_class.gather(1, device.argsort(stable=True, dim=-1))
    size = ends.diff(dim=-1, prepend=torch.zeros_like(ends[..., :1])).sum(1)
    zero = torch.zeros_like(size[:, :1])
    offset = torch.cat([zero, size.cumsum(-1)], -1)
    return order.to(torch.int32), offset.to(torch.int32)


def _class_ends(
    count: Tensor, devices: int, streams: Streams, concentration: float, least: int
) -> Tensor:
    """Images of a class in devices 0 ... k, (B, classes, K) int64; every lane's first that will do.

    Args:
        count: Images of each class.
        devices: K.
        streams: Lanes.
        concentration: Of the Dirichlet distribution.
        least: Of a device over all classes.
    """
    ends = torch.zeros(
        streams.batch_size, len(count), devices, dtype=torch.int64, device=count.device
    )
    open_rows = torch.arange(streams.batch_size, device=count.device)
    for attempt in range(_ATTEMPTS):
        lanes = streams[open_rows]
        draws = log_gamma_draws(
            lanes, f"split/{attempt}", len(count), devices, concentration=concentration
        )
        share = draws.softmax(-1).cumsum(-1)
        tried = (share * count[:, None]).round().to(torch.int64).cummax(-1).values
        tried[..., -1] = count
        tried = torch.minimum(tried, count[:, None])
        size = tried.diff(dim=-1, prepend=torch.zeros_like(tried[..., :1])).sum(1)
        is_enough = size.amin(-1) >= least
        ends[open_rows[is_enough]] = tried[is_enough]
        open_rows = open_rows[~is_enough]
        if len(open_rows) == 0:
            return ends
    raise ScenarioError(
        f"no split of {int(count.sum())} images among {devices} devices with concentration "
        f"{concentration:g} gave each least_images = {least} in {_ATTEMPTS} attempts; lower "
        "least_images or raise concentration."
    )


def batch_index(
    order: Tensor, offset: Tensor, streams: Streams, *, steps: int, batch_size: int
) -> Tensor:
    """Images of the batches of local training, (steps, B, K, batch_size) int64, with replacement.

    Args:
        order: All images device by device, (B, n).
        offset: Where the devices begin and end, (B, K + 1).
        streams: Lanes at the step of the round.
        steps: Batches of a device.
        batch_size: Images of a batch.
    """
    devices = offset.shape[1] - 1
    draw = streams.words("batches", steps * devices * batch_size) & 0xFFFFFFFF
    draw = draw.unflatten(1, (devices, steps * batch_size))
    size = offset.diff(dim=-1).to(torch.int64)[..., None]
    place = offset[:, :-1, None] + (draw * size >> 32)
    index = order.gather(1, place.flatten(1)).to(torch.int64)
    return index.unflatten(1, (devices, steps, batch_size)).permute(2, 0, 1, 3).contiguous()
