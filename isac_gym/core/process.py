"""Process: what happens next. A batched Markov decision process, state in, state out."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.scene import Scene

__all__ = ["ObservationBlock", "Process", "Transition"]


@dataclass(frozen=True)
class ObservationBlock:
    """A run of observation entries with one meaning, for documentation.

    Attributes:
        name: Short name.
        size: Number of entries.
        doc: Meaning and normalisation.
    """

    name: str
    size: int
    doc: str


@dataclass(frozen=True, kw_only=True)
class Transition:
    """Result of one step.

    Attributes:
        state: Next state record.
        reward: Scalar reward, (B,) real.
        objectives: Multi-objective reward vector, (B, number of ``objective_names``).
        metrics: Metrics record of the decision (``objective``, ``violation``, ...).
        terminated: True where the episode has ended, (B,) bool.
        local_reward: Reward of each agent, (B, A).
    """

    state: Any
    reward: Tensor
    objectives: Tensor
    metrics: Any
    terminated: Tensor
    local_reward: Tensor


class Process(ABC):
    """Base of all processes; subclass as a frozen dataclass with a ``problem`` field.

    Randomness comes only from the streams given; the caller sets their step, so a process is a
    pure function. The horizon is part of the process: ``terminated`` is True at its end.
    """

    objective_names: ClassVar[tuple[str, ...]]

    problem: Any
    horizon: int

    def __post_init__(self) -> None:
        if isinstance(self.horizon, bool) or not isinstance(self.horizon, int) or self.horizon < 1:
            raise ScenarioError(f"horizon must be an integer >= 1, got {self.horizon!r}.")

    @property
    @abstractmethod
    def agents(self) -> tuple[str, ...]:
        """Names of the agents of the multi-agent view."""

    @property
    @abstractmethod
    def action_size(self) -> int:
        """Length of the joint action."""

    @property
    @abstractmethod
    def local_action_size(self) -> int:
        """Length of one agent's action."""

    @property
    @abstractmethod
    def observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of the joint observation."""

    @property
    @abstractmethod
    def local_observation_blocks(self) -> tuple[ObservationBlock, ...]:
        """Layout of one agent's observation."""

    @property
    def observation_size(self) -> int:
        """Length of the joint observation."""
        return sum(block.size for block in self.observation_blocks)

    @property
    def local_observation_size(self) -> int:
        """Length of one agent's observation."""
        return sum(block.size for block in self.local_observation_blocks)

    @abstractmethod
    def initial(self, streams: Streams) -> TensorRecord:
        """State at the start of an episode, one per lane; streams are at step 0."""

    @abstractmethod
    def observe(self, state: Any) -> Tensor:
        """Joint observation, (B, O) float32, clipped to [-5, 5]."""

    @abstractmethod
    def observe_local(self, state: Any) -> Tensor:
        """Observations of all agents, (B, A, O) float32, clipped to [-5, 5]."""

    @abstractmethod
    def decode(self, state: Any, action: Tensor) -> TensorRecord:
        """Decision of a joint action (B, action_size) in [-1, 1]; inside the decision set."""

    @abstractmethod
    def encode(self, state: Any, decision: Any) -> Tensor:
        """Action (B, action_size) whose decoding is ``decision``, or the nearest reachable."""

    @abstractmethod
    def advance(self, state: Any, decision: Any, streams: Streams) -> Transition:
        """One step; ``streams`` are at the step after ``state`` (1 for the first call)."""

    @abstractmethod
    def measured(self, state: Any) -> TensorRecord:
        """Instance as the agent knows it (delayed, aged): what a solver may plan with."""

    @abstractmethod
    def truth(self, state: Any) -> TensorRecord:
        """Instance the next decision will be scored on: for genies and references only."""

    def join(self, local_actions: Tensor) -> Tensor:
        """Joint action (B, action_size) of local actions (B, A, local_action_size)."""
        return local_actions.flatten(1)

    @abstractmethod
    def scene(self, state: Any) -> Scene:
        """What ``render`` shows of row 0: a plain description, see ``core/scene.py``."""
