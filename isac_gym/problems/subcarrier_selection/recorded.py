"""Subcarrier selection on a recording: the same problem, its windows taken from real captures.

A recording gives one set of windows; a lane of a batch is one way to split it. Sessions go to
training, validation and score as a whole: a half, a quarter, a quarter, in an order drawn for the
lane (of the sessions, or of the windows where that leaves more of them for each part). Where
positions are coordinates, sessions at the same position stay together too, so that no place is in
two parts; where they are numbered places, every place is asked for in every part, and the sessions
are what is new.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from isac_gym.core.errors import DataFormatError, ScenarioError
from isac_gym.core.random import Streams
from isac_gym.core.scenario import parameter
from isac_gym.data.csi import CSIRecording
from isac_gym.physics.csi_features import window_features
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierInstance
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario

__all__ = ["RecordedScenario", "RecordedSelection", "recorded_problem"]

_CHUNK = 16  # windows whose features are computed at once


@dataclass(frozen=True, kw_only=True)
class RecordedScenario(SubcarrierScenario):
    """Sizes of a recording; what describes a room to simulate plays no role."""

    num_links: int = parameter(1, low=1, high=64, doc="links recorded", source="the recording")
    tones_per_link: int = parameter(
        64, low=2, high=4096, doc="tones of a link that carry a channel", source="the recording"
    )
    num_packets: int = parameter(
        16, low=2, high=10_000_000, doc="packets of the longest window", source="the recording"
    )
    packet_rate_hz: float = parameter(
        10.0, above=0, high=1e7, doc="packets per second", source="the recording"
    )
    features: str = parameter(
        "window", choices=("window",), doc="level and its deviation", source="ours"
    )
    num_interferers: int = parameter(0, low=0, high=0, doc="none is added", source="ours")
    guard_tones: int = parameter(0, low=0, high=0, doc="null tones are left out", source="ours")
    has_dc_null: bool = parameter(False, doc="null tones are left out", source="ours")
    num_coordinates: int = parameter(
        2, low=0, high=2, doc="2: places are coordinates; 0: places are classes", source="recording"
    )
    num_places: int = parameter(
        0, low=0, high=100_000, doc="places that are classes", source="the recording"
    )
    num_activities: int = parameter(
        3, low=2, high=100_000, doc="classes of activity", source="the recording"
    )

    @property
    def node_m(self) -> Tensor:
        """No nodes, (0, 3) m: a recording does not say where they were."""
        return torch.zeros(0, 3, dtype=torch.float64)


@dataclass(frozen=True, kw_only=True, eq=False)
class RecordedSelection(SubcarrierSelection):
    """Select subcarriers of a recording.

    The metric ``location_rmse_m`` is in m for coordinates; for places that are classes it is the
    root of the mean squared error of their shares, without unit.

    Attributes:
        raw_features: Features of all windows, (N, S, C) float64.
        raw_labels: Place and activity of all windows, (N, Y) float64.
        group: Windows that stay together, (N,) int64, numbered from 0 to G - 1.
        weight: How much of the whole each group is, (G,) float64.
        ends: Weight at which training and validation end, (2,) float64.
    """

    scenario_type: ClassVar[type[SubcarrierScenario]] = RecordedScenario

    scenario: RecordedScenario = RecordedScenario()
    raw_features: Tensor
    raw_labels: Tensor
    group: Tensor
    weight: Tensor
    ends: Tensor

    @property
    def num_place(self) -> int:
        """Two coordinates, or one entry per place."""
        return self.scenario.num_coordinates + self.scenario.num_places

    @property
    def num_classes(self) -> int:
        """One entry per activity."""
        return self.scenario.num_activities

    def sample(self, streams: Streams) -> SubcarrierInstance:
        """Draw a split of the sessions, and windows of each part."""
        s, device = self.scenario, streams.seed.device
        group, weight = self.group.to(device), self.weight.to(device)
        order = streams.uniform("sessions", len(weight)).argsort(dim=1)  # (B, G)
        middle = weight[order].cumsum(1) - weight[order] / 2
        middle = middle.take_along_dim(order.argsort(dim=1), 1)
        part = torch.bucketize(middle, self.ends.to(device), right=True)[:, group]  # (B, N)
        turn = streams.uniform("windows", len(group))
        features, labels = {}, {}
        sizes = {"train": s.num_train, "val": s.num_held_out, "score": s.num_held_out}
        for number, (split, size) in enumerate(sizes.items()):
            first = torch.where(part == number, turn, torch.inf).argsort(dim=1)
            rows = first[:, :size]  # all of this part: ``recorded_problem`` saw to that
            features[split] = self.raw_features.to(device)[rows]
            labels[split] = self.raw_labels.to(device)[rows]
        return self.standardised(features, labels)


def recorded_problem(
    recording: CSIRecording,
    *,
    num_train: int | None = None,
    num_held_out: int | None = None,
    max_share: float = 1 / 2,
    min_share: float = 2 / 3,
    evaluator: str = "kernel_ridge",
) -> RecordedSelection:
    """The selection problem of a recording with places and classes of activity.

    Tones that carry no channel in some link are left out; the subcarriers are the others, link by
    link. Padding takes no part in the features.

    Args:
        recording: At least three groups of windows that can be told apart (see the module).
        num_train: Training windows; None: as many as every split has.
        num_held_out: Windows for validation, and for the score; None: likewise.
        max_share: See ``SubcarrierScenario``, like the rest.
        min_share: See ``SubcarrierScenario``.
        evaluator: See ``SubcarrierScenario``.

    Raises:
        DataFormatError: Labels are missing, are rates, or are all the same; there are too few
            groups; or no tone is left.
        ScenarioError: A number of windows is below 16 or more than every split has.
    """
    place, activity = _places(recording), _activities(recording)
    group = _groups(recording)
    plan = _plan(recording, group)
    sizes = _sizes(recording, plan, num_train, num_held_out)
    used = ~recording.null.any(0)
    if int(used.sum()) < 2:
        raise DataFormatError(
            f"{recording.source}: null: {int(used.sum())} tones carry a channel in all links; "
            "allowed: at least 2."
        )
    is_metric = recording.loc is not None and recording.loc.is_floating_point()
    scenario = RecordedScenario(
        num_links=recording.num_links,
        tones_per_link=int(used.sum()),
        num_packets=recording.num_packets,
        packet_rate_hz=recording.fs,
        carrier_hz=recording.fc,
        bandwidth_hz=max(float(recording.freqs[-1] - recording.freqs[0]), 1e6),
        num_coordinates=2 if is_metric else 0,
        num_places=0 if is_metric else place.shape[1],
        num_activities=activity.shape[1],
        max_share=max_share,
        min_share=min_share,
        evaluator=evaluator,
        num_train=sizes["num_train"],
        num_held_out=sizes["num_held_out"],
    )
    return RecordedSelection(
        scenario=scenario,
        raw_features=_features(recording, used),
        raw_labels=torch.cat([place, activity], -1),
        group=group,
        weight=plan.weight,
        ends=plan.ends,
    )


def _features(recording: CSIRecording, used: Tensor) -> Tensor:
    """Features of the used tones, (N, S, C) float64."""
    parts = []
    for start in range(0, recording.num_windows, _CHUNK):
        rows = slice(start, start + _CHUNK)
        level = recording.csi[rows][..., used].abs().double()
        parts.append(window_features(level, received=recording.received[rows]))
    return torch.cat(parts)


def _places(recording: CSIRecording) -> Tensor:
    """Coordinates (N, 2), or one entry per place (N, n), float64."""
    loc = recording.loc
    if loc is None:
        raise DataFormatError(f"{recording.source}: loc: no labels; allowed: positions or places.")
    if not loc.is_floating_point():
        return _one_hot(recording, "loc", loc, recording.loc_names)
    if not bool((loc != loc[0]).any()):
        raise DataFormatError(f"{recording.source}: loc: one position; allowed: two or more.")
    return loc.double()


def _activities(recording: CSIRecording) -> Tensor:
    """One entry per class, (N, n) float64."""
    sen = recording.sen
    if sen is None or sen.is_floating_point():
        found = "no labels" if sen is None else "rates, a task of SubcarrierRespiration"
        raise DataFormatError(f"{recording.source}: sen: {found}; allowed: classes.")
    return _one_hot(recording, "sen", sen, recording.sen_names)


def _one_hot(recording: CSIRecording, field: str, label: Tensor, names: tuple[str, ...]) -> Tensor:
    if int(label.min()) == int(label.max()):
        raise DataFormatError(
            f"{recording.source}: {field}: only class {int(label.min())}; allowed: two or more."
        )
    count = len(names) or int(label.max()) + 1
    return torch.nn.functional.one_hot(label, count).double()


def _groups(recording: CSIRecording) -> Tensor:
    """Windows joined by a session or, for coordinates, by a position, (N,) int64 from 0."""
    links = [recording.sessions.unique(return_inverse=True)[1]]
    if recording.loc is not None and recording.loc.is_floating_point():
        links.append(recording.loc.unique(dim=0, return_inverse=True)[1])
    group = links[0]
    while True:  # the smallest number spreads along sessions and positions until all agree
        before = group
        for link in links:
            least = group.new_full((int(link.max()) + 1,), len(group))
            group = least.scatter_reduce(0, link, group, "amin")[link]
        if torch.equal(group, before):
            return group.unique(return_inverse=True)[1]


class _Plan(NamedTuple):
    """How groups are split, and how many windows the smallest possible part has."""

    weight: Tensor
    ends: Tensor
    num_train: int
    num_held_out: int


def _plan(recording: CSIRecording, group: Tensor) -> _Plan:
    """Split by groups or by windows, whichever is sure of more held-out windows."""
    size = group.bincount().sort().values
    count, total, largest = len(size), len(group), int(size[-1])
    if count < 3:
        raise DataFormatError(
            f"{recording.source}: session: {count} groups of windows without a common session or "
            "position; allowed: at least 3, one each to train, validate and score."
        )
    quarter = max(1, count // 4)
    by_group = _Plan(
        weight=torch.ones(count, dtype=torch.float64),
        ends=torch.tensor([count - 2 * quarter, count - quarter], dtype=torch.float64),
        num_train=int(size[: count - 2 * quarter].sum()),
        num_held_out=int(size[:quarter].sum()),
    )
    by_window = _Plan(  # a part may lose half a group at each of its ends
        weight=group.bincount().double(),
        ends=torch.tensor([total / 2, 3 * total / 4], dtype=torch.float64),
        num_train=(total - largest) // 2,
        num_held_out=(total - 4 * largest) // 4,
    )
    return max(by_group, by_window, key=lambda plan: plan.num_held_out)


def _sizes(
    recording: CSIRecording, plan: _Plan, num_train: int | None, num_held_out: int | None
) -> dict[str, int]:
    """Windows of each part, by the scenario's names."""
    sizes = {}
    for name, size in (("num_train", num_train), ("num_held_out", num_held_out)):
        most = getattr(plan, name)
        if size is not None and size > most:
            raise ScenarioError(
                f"{name} must be at most {most}, which every split of the sessions of "
                f"{recording.source} has, got {size}."
            )
        sizes[name] = most if size is None else size
    return sizes
