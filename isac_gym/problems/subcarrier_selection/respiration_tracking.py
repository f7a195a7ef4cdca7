"""Breathing frames: a person who moves between places, and bands of interference that wander.

The room stays for an episode. A frame holds H windows of one person, whose rate drifts; now and
then the person moves to another place, where other subcarriers are blind to the chest. On every
link a narrow band of interference hits half of the packets. Every frame is generated anew, CSI and
all, so the rate error of a mask is that of ``SubcarrierRespiration`` on the frame.

The agent sees statistics of the spectra of the tones it acquired, never a true rate: whether they
are sharp, agree with what was found, fluctuate. Each change of a tone has a small price.
"""

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.physics.breathing import breathing_rates, peak_frequency, rate_errors
from isac_gym.physics.csi_features import window_features
from isac_gym.problems.subcarrier_selection.interferer import Band, Interferer
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.respiration import CHANCE_HZ, csi_chunks
from isac_gym.problems.subcarrier_selection.respiration_records import RespirationInstance
from isac_gym.problems.subcarrier_selection.respiration_view import (
    RespirationTrackingState,
    RespirationTrackingView,
)
from isac_gym.problems.subcarrier_selection.world import BREATHING_HZ, People, Room, World

__all__ = ["RespirationTracking"]

_RANGES = {
    "move_probability": (0.0, 1.0),
    "drift_hz": (0.0, 0.3),
    "jitter_hz": (0.0, 0.3),
    "band_share": (0.0, 1.0),
    "inr_db": (-30.0, 60.0),
    "inr_std_db": (0.0, 30.0),
    "inr_correlation": (0.0, 1.0),
    "walk_probability": (0.0, 1.0),
    "jump_probability": (0.0, 1.0),
    "switching_cost": (0.0, 1.0),
}


@dataclass(frozen=True, kw_only=True)
class RespirationTracking(RespirationTrackingView):
    """A mask for every frame; one agent per link.

    The reward of a frame is the problem's objective, 1 - error over chance, less the price of the
    tones that changed. The first mask is free.

    Attributes:
        move_probability: The person moves to another place before a frame.
        drift_hz: Standard deviation of the change of the rate from frame to frame.
        jitter_hz: And of the windows of a frame round it.
        band_share: Of a link's tones under its band, at least one.
        inr_db: Mean power of a band over the noise.
        inr_std_db: Its standard deviation.
        inr_correlation: Its correlation from frame to frame.
        walk_probability: A band moves by one tone, in a random direction.
        jump_probability: A band jumps anywhere.
        switching_cost: Price of exchanging one tone for another.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("breathing", "switching")

    move_probability: float = 0.05
    drift_hz: float = 0.01
    jitter_hz: float = 0.01
    band_share: float = 0.375
    inr_db: float = 20.0
    inr_std_db: float = 0.0
    inr_correlation: float = 0.9
    walk_probability: float = 0.3
    jump_probability: float = 0.05
    switching_cost: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        outside = [n for n, (a, b) in _RANGES.items() if not a <= getattr(self, n) <= b]
        for name in outside:
            low, high = _RANGES[name]
            value = getattr(self, name)
            raise ScenarioError(f"{name} must be in [{low:g}, {high:g}], got {value!r}.")

    @cached_property
    def interferer(self) -> Interferer:
        """Law of the bands."""
        tones = self.problem.scenario.tones_per_link
        return Interferer(
            width=max(1, round(self.band_share * tones)),
            mean_db=self.inr_db,
            std_db=self.inr_std_db,
            correlation=self.inr_correlation,
            walk=self.walk_probability,
            jump=self.jump_probability,
            links=self._links,
            tones=tones,
        )

    def initial(self, streams: Streams) -> RespirationTrackingState:
        """A room with calibration windows; nothing has been acquired yet."""
        sampled, room = self.problem.sample(streams), World(self.problem.scenario).room(streams)
        grid = self.problem.frequency_hz.to(sampled.device)
        single = torch.eye(self._tones, dtype=sampled.dtype, device=sampled.device)
        single = single.expand(sampled.batch_size, -1, -1)
        nothing, none = torch.zeros_like(sampled.val[:, 0, :, 0]), torch.zeros_like(streams.seed)
        band = self.interferer.begin(streams, sampled.dtype)
        slow, fast = BREATHING_HZ
        state = RespirationTrackingState(
            instance=sampled.replace(
                val=torch.full_like(sampled.val, 1 / self.problem.scenario.num_bins),
                val_hz=torch.full_like(sampled.val_hz, self.middle_hz),
            ),
            level=nothing,
            channel=room.channel.flatten(1),
            noise_w=room.noise_w,
            person_m=torch.zeros_like(sampled.val_hz[:, :1]).expand(-1, 2),
            activity=none,
            chest_m=nothing[:, 0],
            rate_hz=slow + (fast - slow) * streams.uniform("rate"),
            place=band.place,
            level_db=band.level_db,
            alone=rate_errors(sampled.train, sampled.train_hz, single, grid) / CHANCE_HZ,
            mask=torch.zeros_like(nothing, dtype=torch.bool),
            seen_level=nothing,
            gap=nothing,
            age=none[:, None].expand_as(nothing) + self.horizon,
            slot=none,
        )
        return self._framed(state, streams)

    def advance(
        self, state: RespirationTrackingState, decision: SubcarrierDecision, streams: Streams
    ) -> Transition:
        """Score the frame, remember what was acquired; then the person and the bands move on."""
        metrics = self.problem.evaluate(state.instance, decision)
        mask = decision.mask
        changed = (mask ^ state.mask).sum(-1) * (state.slot > 0)
        price = self.switching_cost / 2 * changed.to(state.dtype)
        band = self.interferer.step(Band(state.place, state.level_db), streams)
        slot = state.slot + 1
        after = self._remember(state, mask).replace(
            place=band.place, level_db=band.level_db, slot=slot
        )
        reward = metrics.objective - price
        return Transition(
            state=self._framed(after, streams),
            reward=reward,
            objectives=torch.stack([metrics.objective, -price], -1),
            metrics=metrics,
            terminated=slot >= self.horizon,
            local_reward=reward[:, None].expand(-1, self._links),
        )

    def _remember(self, state: RespirationTrackingState, mask: Tensor) -> RespirationTrackingState:
        """State with what the acquired tones have shown."""
        i = state.instance
        grid = self.problem.frequency_hz.to(i.device, i.dtype)
        found = breathing_rates(i.score, mask.to(i.dtype)[:, None], grid)[:, 0]  # (B, H)
        own = peak_frequency(i.score, grid)  # (B, H, S)
        gap = (own - found[..., None]).mean(1)
        spectra = torch.where(mask[:, None, :, None], i.score, i.val)
        return state.replace(
            instance=i.replace(val=spectra, val_hz=found),
            mask=mask,
            seen_level=torch.where(mask, state.level, state.seen_level),
            gap=torch.where(mask, gap, state.gap),
            age=torch.where(mask, 0, (state.age + 1).clamp_max(self.horizon)),
        )

    def _framed(
        self, state: RespirationTrackingState, streams: Streams
    ) -> RespirationTrackingState:
        """State with the coming frame: the person where they are then, under the bands."""
        state = self._moved(state, streams)
        dtype, i = state.dtype, state.instance
        world, room = World(self.problem.scenario), self._room(state)
        people = self._windows(state, room, streams)
        spectra, levels = [], []
        for csi in csi_chunks(world, streams, room, people, "frame"):
            spectra.append(self.problem.spectra(csi))
            levels.append(window_features(csi)[..., 1])
        score = torch.cat(spectra, 1).to(dtype)
        frame = i.replace(score=score, score_hz=people.breathing_hz.to(dtype))
        return state.replace(instance=frame, level=torch.cat(levels, 1).mean(1).to(dtype))

    def _moved(self, state: RespirationTrackingState, streams: Streams) -> RespirationTrackingState:
        """State with the person's place, posture, breath and rate in the coming frame."""
        s, dtype = self.problem.scenario, state.dtype
        grid = s.grid.to(state.device)
        draw = World(s).people(streams, self._room(state), "person", 1)
        draw = self.problem.posed(draw)
        moves = (streams.uniform("move") < self.move_probability) | (state.slot == 0)
        where = grid[streams.integers("place", high=len(grid))].to(dtype)
        drift = self.drift_hz * streams.normal("drift", dtype=dtype)
        return state.replace(
            person_m=torch.where(moves[:, None], where, state.person_m),
            activity=torch.where(moves, draw.activity[:, 0], state.activity),
            chest_m=torch.where(moves, draw.chest_m[:, 0].to(dtype), state.chest_m),
            rate_hz=_reflected(state.rate_hz + drift),
        )

    def _windows(self, state: RespirationTrackingState, room: Room, streams: Streams) -> People:
        """The person in each of the frame's windows."""
        count = state.instance.score.shape[1]
        jitter = self.jitter_hz * streams.normal("jitter", count)
        draw = World(self.problem.scenario).people(streams, room, "frame", count)
        return dataclasses.replace(
            draw,
            place=state.person_m[:, None].double().expand(-1, count, -1),
            activity=state.activity[:, None].expand(-1, count),
            breathing_hz=_reflected(state.rate_hz[:, None].double() + jitter),
            chest_m=state.chest_m[:, None].double().expand(-1, count),
        )

    def _room(self, state: RespirationTrackingState) -> Room:
        """The room under the coming frame's bands."""
        s = self.problem.scenario
        channel = state.channel.to(torch.complex128).unflatten(1, (self._links, -1))
        null = s.null.to(state.device)
        inr = self.interferer.noise(Band(state.place, state.level_db), null).double()
        place = s.grid.to(state.device).expand(state.batch_size, -1, -1)
        return Room(channel, channel, state.noise_w.double(), inr.view(channel.shape), place)

    def measured(self, state: RespirationTrackingState) -> RespirationInstance:
        """What was last seen of every tone, and the rates that were found: there is no truth."""
        return self.problem.known(state.instance)

    def truth(self, state: RespirationTrackingState) -> RespirationInstance:
        """The coming frame."""
        return state.instance


def _reflected(rate_hz: Tensor) -> Tensor:
    """Rates outside the range mirrored into it."""
    slow, fast = BREATHING_HZ
    beyond = (rate_hz - slow).remainder(2 * (fast - slow))
    return slow + torch.minimum(beyond, 2 * (fast - slow) - beyond)
