"""Cooperative imaging: users adapt their images block by block, and each exchange has its price.

Every user sets its own filter for the next block from what it has seen: its errors, and what its
neighbours last sent. Large steps converge fast and end noisy; exchange averages noise and spreads
what a single user cannot see (16 antennas light 32 voxels: alone, a user sees half of the image),
but every scalar sent is paid for.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.process import Transition
from isac_gym.core.random import Streams
from isac_gym.problems.multi_user_imaging.cooperative_view import (
    CooperativeImagingState,
    CooperativeImagingView,
)
from isac_gym.problems.multi_user_imaging.diffusion import (
    MAX_SPARSITY,
    STEP_RANGE,
    ImagingDiffusionDecision,
    ImagingDiffusionInstance,
    ImagingDiffusionMetrics,
    Outcome,
)

__all__ = ["CooperativeImaging"]

_SCALE = 4.0  # of the scores: the largest ratio of two weights is exp(8) = 3000
_RATIO = math.log(STEP_RANGE[1] / STEP_RANGE[0])


@dataclass(frozen=True, kw_only=True)
class CooperativeImaging(CooperativeImagingView):
    """A run of diffusion; one agent per user.

    The reward of a block is the gain of the network's image SNR in 10 dB, less the price of what
    was sent; over an episode it sums to the final image SNR in 10 dB less the price.

    An action holds, for each user: the step size on a logarithmic scale over [0.05, 1.5] / E;
    sending, >= 0 sends; the sparsity, a square so that 0 is reached and small values are resolved;
    and scores of oneself and of each place, whose softmax are the weights. Scores of empty places
    play no role, and neighbours that do not send are left out of the average.

    Attributes:
        exchange_cost: Price, in 10 dB, of everyone sending in every block of the episode. At 1,
            sending in every second block earns as much as in every one with a step size that
            falls in time, and never sending loses to the plain filter in all presets.
        local_reward_mode: ``shared``, or ``individual``: the gain of the user's own image, less
            the price of what it sent itself, times the number of users.
    """

    objective_names: ClassVar[tuple[str, ...]] = ("image", "exchange")

    exchange_cost: float = 1.0
    local_reward_mode: str = "shared"

    def __post_init__(self) -> None:
        super().__post_init__()
        places = self.max_neighbours
        if isinstance(places, bool) or not isinstance(places, int) or places < 1:
            raise ScenarioError(f"max_neighbours must be an integer >= 1, got {places!r}.")
        if not 0 <= self.exchange_cost <= 100:
            raise ScenarioError(f"exchange_cost must be in [0, 100], got {self.exchange_cost!r}.")
        if self.local_reward_mode not in ("shared", "individual"):
            raise ScenarioError(
                "local_reward_mode must be 'shared' or 'individual', "
                f"got {self.local_reward_mode!r}."
            )

    # --- actions ------------------------------------------------------------------------------

    def decode(self, state: CooperativeImagingState, action: Tensor) -> ImagingDiffusionDecision:
        """Decision of an action in [-1, 1]; always admissible.

        Raises:
            ShapeError: Wrong shape.
        """
        expected = (state.batch_size, self.action_size)
        if action.shape != expected:
            raise ShapeError(f"action: shape {tuple(action.shape)}, expected {expected}.")
        action = action.to(state.dtype).clamp(-1, 1).unflatten(1, (self._users, -1))
        step, send, sparsity = action[..., :3].unbind(-1)
        return ImagingDiffusionDecision(
            step=(STEP_RANGE[0] * torch.exp(_RATIO * (step + 1) / 2)).clamp(*STEP_RANGE),
            weight=self._weight(state, action[..., 3:]),
            send=send >= 0,
            sparsity=MAX_SPARSITY * ((sparsity + 1) / 2).square(),
        )

    def _weight(self, state: CooperativeImagingState, score: Tensor) -> Tensor:
        """Column-stochastic weights (B, K, K) of scores (B, K, 1 + D) in [-1, 1]."""
        index, used = self._seats(state)
        share = (_SCALE * score).masked_fill(~used, -torch.inf).softmax(-1)
        users = self._users
        empty = share.new_zeros(len(share), users, users)
        return empty.scatter_add(-1, index, share).mT  # an empty place may name oneself

    def _seats(self, state: CooperativeImagingState) -> tuple[Tensor, Tensor]:
        """Users whose scores an action holds, oneself first, (B, K, 1 + D), and which are used."""
        slots = self.slots(state.instance)
        own = torch.arange(self._users, device=slots.index.device)
        own = own[None, :, None].expand(len(slots.index), -1, -1)
        index = torch.cat([own, slots.index], -1)
        return index, torch.cat([torch.ones_like(own, dtype=torch.bool), slots.used], -1)

    def encode(self, state: CooperativeImagingState, decision: ImagingDiffusionDecision) -> Tensor:
        """Action whose decoding is ``decision``; ratios of weights are cut at exp(8)."""
        index, used = self._seats(state)
        share = decision.weight.mT.gather(-1, index)
        tiny = torch.finfo(share.dtype).tiny
        level = torch.where(used, share, 0).clamp_min(tiny).log()
        score = (level - level.amax(-1, keepdim=True)) / _SCALE + 1
        step = decision.step.clamp(*STEP_RANGE) / STEP_RANGE[0]
        parts = (
            2 * step.log() / _RATIO - 1,
            torch.where(decision.send, 1.0, -1.0).to(share.dtype),
            2 * (decision.sparsity.clamp(0, MAX_SPARSITY) / MAX_SPARSITY).sqrt() - 1,
        )
        score = torch.where(used, score, 0)
        return torch.cat([torch.stack(parts, -1), score], -1).clamp(-1, 1).flatten(1)

    # --- time ---------------------------------------------------------------------------------

    def initial(self, streams: Streams) -> CooperativeImagingState:
        """Empty images, nothing sent, and the samples of the first block drawn."""
        instance = self.problem.begin(streams)
        zero = torch.zeros_like(instance.position[..., 0])
        none = torch.zeros_like(streams.seed)
        noise = zero + self.problem.scenario.noise_w
        return CooperativeImagingState(
            instance=instance,
            probe=torch.zeros_like(instance.probe),
            symbol=torch.zeros_like(instance.symbol),
            received=torch.zeros_like(instance.received),
            last=self.problem.floor(instance),
            message=torch.zeros_like(instance.estimate),
            message_error=noise,
            age=none[:, None].expand(-1, self._users).clone(),
            surprise=noise,
            error=noise,
            spent=zero[:, 0],
            block=none,
        )

    def advance(
        self,
        state: CooperativeImagingState,
        decision: ImagingDiffusionDecision,
        streams: Streams,
    ) -> Transition:
        """Run the block, score it, and draw the samples of the next one."""
        i, problem = state.instance, self.problem
        outcome = problem.run(i, decision)
        metrics = problem.score(i, decision, outcome)
        block = state.block + 1
        later = i.replace(
            estimate=outcome.estimate, elapsed=i.elapsed + problem.scenario.num_samples
        )
        after = self._remember(state, decision, outcome).replace(
            instance=problem.transmit(later, streams),
            last=problem.project(i, decision),
            spent=state.spent + metrics.cost_share,
            block=block,
        )
        gain, share = metrics.gain_db / 10, metrics.cost_share / self.horizon
        reward = gain - self.exchange_cost * share
        return Transition(
            state=after,
            reward=reward,
            objectives=torch.stack([gain, -share], -1),
            metrics=metrics,
            terminated=block >= self.horizon,
            local_reward=self._local_reward(i, decision, metrics, reward),
        )

    def _remember(
        self,
        state: CooperativeImagingState,
        decision: ImagingDiffusionDecision,
        outcome: Outcome,
    ) -> CooperativeImagingState:
        """State with what the users have learned from the block."""
        i, problem = state.instance, self.problem
        error, send = problem.residual(i, outcome.estimate), decision.send
        symbol = i.symbol if problem.scenario.known_symbols else torch.zeros_like(i.symbol)
        return state.replace(
            probe=i.probe,
            symbol=symbol,
            received=i.received,
            message=torch.where(send[..., None], outcome.message, state.message),
            message_error=torch.where(send, error, state.message_error),
            age=torch.where(send, 0, state.age + 1),
            surprise=problem.residual(i, i.estimate),
            error=error,
        )

    def _local_reward(
        self,
        instance: ImagingDiffusionInstance,
        decision: ImagingDiffusionDecision,
        metrics: ImagingDiffusionMetrics,
        reward: Tensor,
    ) -> Tensor:
        users = self._users
        if self.local_reward_mode == "shared":
            return reward[:, None].expand(-1, users)
        i, least = instance, 1e-15 * instance.image.abs().square().sum(-1, keepdim=True)
        before = (i.estimate - i.image[:, None]).abs().square().sum(-1)
        gain = (torch.maximum(before, least) / torch.maximum(metrics.msd_user, least)).log10()
        links = i.adjacency.sum(-1).to(gain.dtype)
        share = users * links * decision.send / links.sum(-1, keepdim=True) / self.horizon
        return gain - self.exchange_cost * share
