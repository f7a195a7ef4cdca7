"""One transmission of a federated round: updates and messages of localisation, all lanes."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from isac_gym.core.random import Streams
from isac_gym.problems.ota_feel.federated_settings import FederatedSettings
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState
from isac_gym.problems.ota_feel.locating import Known, groups
from isac_gym.problems.ota_feel.model import power_of
from isac_gym.problems.ota_feel.records import OtaFeelDecision
from isac_gym.problems.ota_feel.transmission import (
    Scaling,
    Uplink,
    send,
    send_repeated,
    send_round,
    send_updates,
)

__all__ = ["Sums", "exchange", "kept"]

_SILENT = 1e-9  # of the full power: devices below are left out of the sums


@dataclass(frozen=True)
class Sums:
    """What the server makes of a transmission.

    Attributes:
        update: Average update of the global network, (B, d).
        candidates: Candidates for the target, (B, C, 3) m, the estimate first.
    """

    update: Tensor
    candidates: Tensor


def exchange(
    settings: FederatedSettings,
    state: OtaFeelFederatedState,
    known: Known,
    sent: OtaFeelDecision,
    streams: Streams,
) -> Sums:
    """Transmit; lanes with the same kind of message go together.

    Args:
        settings: Scheme, and how the target is found.
        state: Updates, messages and their scales.
        known: What the messages were made of.
        sent: Precoders within the budgets; silent devices are left out of both sums.
        streams: Lanes at the step of the round.
    """
    power_w = settings.problem.scenario.max_power_w
    active = (power_of(sent.precoder) > _SILENT * power_w).to(state.dtype)
    update, candidates = torch.zeros_like(state.weights), state.candidates.clone()
    locating = settings.locating
    for kind, rows in groups(locating.kinds(known.slot)):
        part, live = known[rows], active[rows]
        message = locating.cut(kind, state.message[rows]) if settings.locates else None
        line = _Line(settings, state[rows], sent[rows], live, streams[rows])
        if message is None or message.shape[-1] == 0:
            update[rows] = line.updates()
        else:
            scaling = kept(locating.scaling(kind, message), live, torch.ones_like(live[:, 0]))
            total, update[rows] = line.both(message, scaling)
            heard = replace(part, sounded=part.sounded * live[..., None, None])
            candidates[rows] = locating.moved(kind, heard, total)
        if settings.scheme == "single-shot" and bool((part.slot == 1).any()):
            own = locating.alone(part).to(candidates)[:, None].expand_as(candidates[rows])
            first = (part.slot == 1)[:, None, None]
            candidates[rows] = torch.where(first, own, candidates[rows])
    return Sums(update, candidates)


def kept(scaling: Scaling, active: Tensor, norm: Tensor, weight: Tensor | None = None) -> Scaling:
    """The scaling of a sum without the silent devices.

    Args:
        scaling: That of all.
        active: 1 for devices that send, else 0, (B, K).
        norm: What the sum is divided by, (B,); 0: nothing is left.
        weight: Weights of the means that the server adds, (B, K); None: it adds none.
    """
    live = scaling.weight * active
    left = live.sum(-1)
    some = left > 0
    safe = torch.where(norm > 0, norm, 1)
    offset = torch.zeros_like(left)
    if weight is not None:
        offset = (weight * active * scaling.mean).sum(-1) / safe
    return replace(
        scaling,
        weight=torch.where(some[:, None], live / torch.where(some, left, 1)[:, None], live),
        factor=torch.where(norm > 0, scaling.factor * left / safe, 0),
        offset=offset,
    )


class _Line:
    """The uplink of some lanes in one round."""

    def __init__(
        self,
        settings: FederatedSettings,
        state: OtaFeelFederatedState,
        sent: OtaFeelDecision,
        active: Tensor,
        streams: Streams,
    ) -> None:
        self.settings, self.state, self.sent = settings, state, sent
        self.active, self.streams = active, streams
        self.shares = settings.shares(state)
        self.norm = (self.shares * active).sum(-1)

    def updates(self) -> Tensor:
        """Average update alone, (B, d)."""
        if not self.settings.learns:
            return torch.zeros_like(self.state.weights)
        if self.settings.is_perfect:
            return self._exact()
        scaling = self._scaling()
        stream = self.state.instance.weight.shape[-1] - 1
        columns = [scaling.weight] if stream == 0 else [torch.ones_like(scaling.weight)] * 2
        columns[stream] = scaling.weight
        return send_updates(
            self._uplink(columns), self.state.delta, scaling, self.streams, stream=stream
        )

    def both(self, message: Tensor, scaling: Scaling) -> tuple[Tensor, Tensor]:
        """Sums of messages (B, n), of (B, K, n), and the average update (B, d)."""
        settings, state = self.settings, self.state
        if settings.is_perfect:
            return (message * self.active[..., None]).sum(1), self.updates()
        symbols = scaling.symbols(message)
        columns, update = [scaling.weight], torch.zeros_like(state.weights)
        learning = self._scaling() if settings.learns else None
        if learning is not None:
            columns.append(learning.weight)
        uplink = self._uplink(columns)
        if learning is not None and settings.repeats == 1:
            got, update = send_round(uplink, symbols, state.delta, learning, self.streams)
            return scaling.restored(got, message.shape[-1]), update
        if learning is not None:
            update = send_updates(uplink, state.delta, learning, self.streams, stream=1)
        if settings.repeats == 1:
            got = send(uplink, symbols[:, :, None], self.streams, "uplink/score", carried=(0,))[
                :, 0
            ]
        else:
            got = send_repeated(
                uplink,
                symbols,
                scaling.weight,
                self.streams,
                "uplink/score",
                repeats=settings.repeats,
            )
        return scaling.restored(got, message.shape[-1]), update

    def _exact(self) -> Tensor:
        share = self.shares * self.active / torch.where(self.norm > 0, self.norm, 1)[:, None]
        return torch.einsum("bk,bkd->bd", share.to(self.state.delta), self.state.delta)

    def _scaling(self) -> Scaling:
        """Scales of the updates without silent devices."""
        s = self.state
        whole = Scaling(
            mean=s.mean,
            divisor=s.divisor,
            weight=s.instance.weight[..., -1],
            factor=s.factor,
            offset=s.offset,
        )
        return kept(whole, self.active, self.norm, self.shares)

    def _uplink(self, columns: list[Tensor]) -> Uplink:
        instance = self.state.instance
        weight = torch.stack([column.to(instance.weight) for column in columns], -1)
        return Uplink.of(self.settings.problem, instance.replace(weight=weight), self.sent)
