"""Problem: what is true. Sampling, projection and the only function that ever scores anything."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Protocol, cast

from torch import Tensor

from isac_gym.core.errors import ScenarioError, ShapeError
from isac_gym.core.random import Streams
from isac_gym.core.records import TensorRecord
from isac_gym.core.scenario import Scenario

__all__ = ["Metrics", "Problem"]


class Metrics(Protocol):
    """What every metrics record has."""

    @property
    def objective(self) -> Tensor:
        """Larger is better, (B,)."""
        ...

    @property
    def violation(self) -> Tensor:
        """Relative constraint violation >= 0, (B,); 0 is feasible."""
        ...


class Problem(ABC):
    """A batched optimisation problem; subclass as a frozen dataclass with a ``scenario`` field.

    Class attributes name the records: ``instance_type``, ``decision_type``, ``metrics_type``; each
    is a :class:`TensorRecord`. ``axis_sizes`` gives the lengths of all axes but B.
    """

    name: ClassVar[str]
    scenario_type: ClassVar[type[Scenario]]
    instance_type: ClassVar[type[TensorRecord]]
    decision_type: ClassVar[type[TensorRecord]]
    metrics_type: ClassVar[type[TensorRecord]]
    objective_unit: ClassVar[str] = "1"

    scenario: Scenario

    @property
    @abstractmethod
    def axis_sizes(self) -> dict[str, int]:
        """Lengths of the record axes other than B, e.g. ``{"I": 3}``."""

    @abstractmethod
    def sample(self, streams: Streams) -> TensorRecord:
        """Draw one instance per lane of ``streams``; float64, on the device of the streams."""

    @abstractmethod
    def project(self, instance: Any, decision: Any) -> TensorRecord:
        """Nearest feasible decision in the problem's own sense; idempotent, differentiable.

        Runs on ``device="meta"``: no host synchronisation, no data-dependent shapes.
        """

    @abstractmethod
    def evaluate(self, instance: Any, decision: Any) -> TensorRecord:
        """Metrics of a decision: total, differentiable, no host synchronisation."""

    @abstractmethod
    def floor(self, instance: Any) -> TensorRecord:
        """The naive decision that scores 0 on the leaderboard (feasible)."""

    def tighten(self, instance: Any, margin_db: float) -> Any:
        """Instance whose constraints are harder by ``margin_db``, for planning with stale gains.

        Raises:
            ScenarioError: The problem has no such constraints and the margin is not 0.
        """
        if margin_db != 0:
            raise ScenarioError(
                f"{self.name} has no margin; margin_db must be 0, got {margin_db:g}."
            )
        return instance

    def validate(self, instance: TensorRecord, decision: TensorRecord | None = None) -> None:
        """Check types, shapes and values; synchronises. Used at boundaries only.

        Raises:
            ShapeError: Names the record, the field and what is allowed.
        """
        _expect(instance, self.instance_type).check(**self.axis_sizes).check_finite()
        if decision is not None:
            sizes = self.axis_sizes | {"B": instance.batch_size}
            checked = _expect(decision, self.decision_type).check(**sizes)
            if checked.device != instance.device:
                name = next(iter(checked.tensor_fields()))
                raise ShapeError(
                    f"{type(checked).__name__}.{name}: on device {checked.device}, expected "
                    f"{instance.device}, the instance's."
                )
            checked.check_finite()

    def metrics(self, instance: TensorRecord, decision: TensorRecord) -> Metrics:
        """``evaluate`` with its result typed as :class:`Metrics`."""
        return cast(Metrics, self.evaluate(instance, decision))


def _expect(record: object, wanted: type[TensorRecord]) -> TensorRecord:
    if not isinstance(record, wanted):
        raise ShapeError(f"expected a {wanted.__name__}, got {type(record).__name__}.")
    return record
