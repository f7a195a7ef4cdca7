"""Settings of federated rounds, checked, and the parts they make."""

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState, OtaFeelFederatedView
from isac_gym.problems.ota_feel.locating import Locating
from isac_gym.problems.ota_feel.training import Training
from isac_gym.problems.ota_feel.transmission import SCALINGS

__all__ = ["SCHEMES", "TASKS", "FederatedSettings"]

SCHEMES = ("joint", "perfect", "ota", "setup-1", "setup-2", "single-shot")
_LEARNING = ("joint", "perfect", "ota")
_LOCATING = ("joint", "perfect", "setup-1", "setup-2")
_PERFECT = ("perfect", "setup-1")
TASKS = {"joint": 2, "ota": 1, "setup-2": 1}  # streams of a scheme; others take 1 or 2
_CHOICES = {
    "scheme": SCHEMES,
    "scaling": SCALINGS,
    "averaging": ("images", "equal"),
    "echoes": ("frame", "accumulate"),
    "pixels": ("normalised", "scaled"),
    "network": ("auto", "mlp", "cnn"),
}
_RANGES = {
    "energy": (0.01, 1.0),
    "correlation": (0.0, 1.0),
    "learning_rate": (1e-6, 10.0),
    "concentration": (1e-3, 1e6),
    "step": (1e-3, 2.0),
}
_WHOLE = {
    "coherence": (1, 1_000_000),
    "delay_rounds": (0, 1),
    "local_steps": (1, 10_000),
    "batch_size": (1, 100_000),
    "least_images": (1, 100_000),
    "train_images": (0, 10_000_000),
    "test_images": (0, 10_000_000),
    "candidates": (1, 100),
    "follow": (0, 100),
    "repeats": (1, 1024),
    "settle": (0, 1_000_000),
}


@dataclass(frozen=True, kw_only=True)
class FederatedSettings(OtaFeelFederatedView):
    """What a federation that learns and locates can be made to do.

    Attributes:
        scheme: ``joint``: both tasks over the air (the paper's setup III); ``perfect``: both sums
            without error; ``ota``: learning alone, one stream; ``setup-1``, ``setup-2``:
            localisation alone, without error or over the air in one stream; ``single-shot``: mean
            of the devices' own estimates, ill-posed for line arrays.
        scaling: ``adaptive``: each update has unit variance, weights follow; ``max``: one scale.
        averaging: Weights by ``images`` held, or ``equal``.
        coherence: Rounds of one channel.
        dataset: ``digits``, ``mnist``, ``fashion-mnist`` or ``cifar10``.
        folder: Where its files are; None: as ``isac_gym.data``.
        pixels: ``normalised`` or ``scaled``; see ``Training``.
        network: ``mlp``, ``cnn`` or ``auto``; see ``Training``.
        local_steps: Descent steps of a device per round.
        batch_size: Images of a step.
        learning_rate: Of a step.
        concentration: Of the Dirichlet split of the labels.
        least_images: Of the device with fewest.
        train_images: First images of the training set to use; 0: all.
        test_images: First images of the test set to use; 0: all.
        echoes: Of the first ``frame``, or ``accumulate``: of every round.
        likelihood: Of the echoes, see ``echoes.py``; ``white`` where the scenario's is ideal.
        start: ``search``, ``random`` or ``centre``; see ``Locating``.
        method: ``scoring`` or ``gradient``.
        candidates: Peaks of the search that are followed until the election.
        follow: Rounds of scores before the election.
        repeats: Times each symbol of localisation is sent, and combined; with pulses a frame's
            length undoes them.
        step: eta of a step.
        settle: Rounds after which the step falls; 0: never.
    """

    scheme: str = "joint"
    scaling: str = "adaptive"
    averaging: str = "images"
    coherence: int = 4
    dataset: str = "digits"
    folder: str | None = None
    pixels: str = "normalised"
    network: str = "auto"
    local_steps: int = 5
    batch_size: int = 32
    learning_rate: float = 0.1
    concentration: float = 0.4
    least_images: int = 16
    train_images: int = 0
    test_images: int = 0
    echoes: str = "accumulate"
    likelihood: str = "full"
    start: str = "search"
    method: str = "scoring"
    candidates: int = 8
    follow: int = 4
    repeats: int = 1
    step: float = 0.7
    settle: int = 12

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ScenarioError(
                    f"{name} must be one of {allowed}, got {getattr(self, name)!r}."
                )
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise ScenarioError(
                    f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)!r}."
                )
        for name, (least, most) in _WHOLE.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                raise ScenarioError(
                    f"{name} must be an integer in [{least}, {most}], got {value!r}."
                )
        if not (self.folder is None or isinstance(self.folder, str)):
            raise ScenarioError(f"folder must be a path as text or None, got {self.folder!r}.")
        tasks = self.problem.scenario.num_tasks
        wanted = TASKS.get(self.scheme, min(tasks, 2))
        if tasks != wanted:
            raise ScenarioError(
                f"num_tasks must be {wanted} with scheme {self.scheme!r}, got {tasks}."
            )
        _ = self.locating

    # --- parts --------------------------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """Whether networks are trained."""
        return self.scheme in _LEARNING

    @property
    def locates(self) -> bool:
        """Whether devices send what they know of the target."""
        return self.scheme in _LOCATING

    @property
    def is_perfect(self) -> bool:
        """Whether sums come without error."""
        return self.scheme in _PERFECT

    @cached_property
    def training(self) -> Training:
        """Data, network and local descent."""
        return Training(
            dataset=self.dataset,
            folder=self.folder,
            pixels=self.pixels,
            network=self.network,
            steps=self.local_steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            train_images=self.train_images,
            test_images=self.test_images,
        )

    @cached_property
    def locating(self) -> Locating:
        """Messages of localisation."""
        is_ideal = self.problem.scenario.sensing == "ideal"
        return Locating(
            problem=self.problem,
            likelihood="white" if is_ideal else self.likelihood,
            start=self.start,
            method=self.method,
            candidates=self.candidates,
            follow=self.follow,
            step=self.step,
            settle=self.settle,
        )

    def shares(self, state: OtaFeelFederatedState) -> Tensor:
        """Weights of the devices in the average of the updates, (B, K)."""
        count = state.images.to(state.dtype)
        if self.averaging == "equal" or not self.learns:
            count = torch.ones_like(count)
        return count / count.sum(-1, keepdim=True)
