"""Reference rollouts: a process played by hand, the yardstick of every adapter."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from isac_gym.core.process import Process, Transition
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord

__all__ = ["ReferenceStep", "local_actions", "reference_rollout"]


@dataclass(frozen=True)
class ReferenceStep:
    """One step of all lanes, episodes restarting in the step that ends them.

    Attributes:
        local: Actions of the agents, (B, A, local_action_size) float32 in [-1, 1].
        action: The same joined, (B, action_size) float32.
        state: State before the step.
        transition: Result of the step.
        final_observation: Observation of the state that was reached, (B, O).
        observation: Observation to act on next: of the new episode where one ended, (B, O).
        final_local: Local observations of the state that was reached, (B, A, O).
        streams: Streams the step was drawn from.
    """

    local: Tensor
    action: Tensor
    state: TensorRecord
    transition: Transition
    final_observation: Tensor
    observation: Tensor
    final_local: Tensor
    streams: Streams


def local_actions(process: Process, batch: int, step: int) -> Tensor:
    """Fixed pseudo-random actions of all agents, (B, A, local_action_size) float32."""
    shape = (len(process.agents), process.local_action_size)
    streams = Streams.from_seed(1000, batch).at_step(step)
    return 2 * streams.uniform("action", *shape, dtype=torch.float32) - 1


def reference_rollout(
    process: Process,
    streams: Streams,
    steps: int,
    *,
    act: Callable[[Process, int, int], Tensor] = local_actions,
) -> list[ReferenceStep]:
    """Play ``steps`` steps by the documented convention.

    Reset is ``initial`` at step 0, the k-th step ``advance`` at step k; a lane whose episode ended
    moves to step 0 of its next episode.

    Args:
        process: Process to play.
        streams: Lanes, at step 0.
        steps: Number of steps.
        act: Local actions of (process, batch size, step number).
    """
    state, history = process.initial(streams), []
    for number in range(steps):
        local = act(process, streams.batch_size, number)
        action = process.join(local)
        streams = streams.at_step(streams.step + 1)
        result = process.advance(state, process.decode(state, action), streams)
        reached, ended, used = result.state, result.terminated, streams
        final = observation = process.observe(reached)
        before, state = state, reached
        if bool(ended.any()):
            streams = streams.next_episode(ended)
            state = process.initial(streams).where(ended, reached)
            observation = process.observe(state)
        history.append(
            ReferenceStep(
                local=local,
                action=action,
                state=before,
                transition=result,
                final_observation=final,
                observation=observation,
                final_local=process.observe_local(reached),
                streams=used,
            )
        )
    return history
