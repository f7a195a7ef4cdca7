"""Benchmark rows of OTA-FEEL: alternation, Fisher information, training, federated rounds."""

import subprocess
import sys
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor

from baselines.ota_feel.federated import federated_process
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.random import Streams
from isac_gym.physics.aggregation import mmse_receivers, task_errors
from isac_gym.physics.echo import response
from isac_gym.physics.learning import Network, initial_weights, local_updates, mlp
from isac_gym.physics.precoding import alternating_precoders, initial_precoders
from isac_gym.problems.ota_feel.federated import OtaFeelFederated
from isac_gym.problems.ota_feel.federated_view import OtaFeelFederatedState
from isac_gym.problems.ota_feel.model import OtaFeel, OtaFeelDecision, OtaFeelInstance
from isac_gym.problems.ota_feel.scenario import OtaFeelScenario

__all__ = ["rows"]

_BATCH, _ROUNDS = 256, 8
_STEPS, _IMAGES, _RATE = 5, 32, 0.1  # of local training, the paper's
_LANES = 8  # environments of training and of federated rounds


def rows() -> list[BenchRow]:
    """All rows of this problem."""
    return [
        BenchRow(
            name="ota_feel/ao-cvx",
            ours=Side(label=f"B={_BATCH}, closed form", run=_alternate, units=_BATCH),
            theirs=Side(label="CVXPY per device (DPP, CLARABEL)", run=_conic, units=1),
            target=1000,
            prepare=lambda quick: _stage("coherent"),
            check=_same_error,
        ),
        BenchRow(
            name="ota_feel/ao-batch",
            ours=Side(label=f"B={_BATCH}", run=_alternate, units=_BATCH),
            theirs=Side(label="one instance", run=lambda s: _alternate(s.first(1)), units=1),
            target=10,
            prepare=lambda quick: _stage("coherent"),
            check=_same_error,
        ),
        BenchRow(
            name="ota_feel/ao-pulses-cvx",
            ours=Side(label=f"B={_BATCH}, closed form", run=_alternate, units=_BATCH),
            theirs=Side(label="CVXPY per device (DPP, CLARABEL)", run=_conic, units=1),
            target=500,
            prepare=lambda quick: _stage("paper"),
            check=_same_error,
        ),
        BenchRow(
            name="ota_feel/fisher-information",
            ours=Side(label=f"B={_BATCH}, closed form", run=_information, units=_BATCH),
            theirs=Side(label="autograd Jacobian, one by one", run=_by_autograd, units=4),
            target=100,
            prepare=lambda quick: _stage("joint"),
            check=_same_information,
        ),
        BenchRow(
            name="ota_feel/local-training",
            ours=Side(label=f"{_LANES} x 15 MLPs on one axis", run=_train, units=_LANES),
            theirs=Side(label="torch.nn and SGD, one device at a time", run=_by_modules, units=1),
            target=4,
            prepare=lambda quick: _training_stage(),
            check=_same_updates,
            unit="federated round",
        ),
        BenchRow(
            name="ota_feel/federated-round",
            ours=Side(label=f"digits, B={_LANES}", run=_advance, units=_LANES),
            theirs=Side(label="one environment", run=lambda s: _advance(s.first(1)), units=1),
            target=2,
            prepare=lambda quick: _federation(),
            check=_same_state,
            unit="federated round",
        ),
    ]


@dataclass(frozen=True)
class _Stage:
    """Instances and full-power precoders."""

    problem: OtaFeel
    instance: OtaFeelInstance
    start: Tensor

    def first(self, count: int) -> "_Stage":
        """The first instances only."""
        return _Stage(self.problem, self.instance[:count], self.start[:count])


def _stage(preset: str) -> _Stage:
    problem = OtaFeel(scenario=OtaFeelScenario.preset(preset))
    instance, s = problem.sample(Streams.from_seed(0, _BATCH)), problem.scenario
    start = initial_precoders(instance.channel, instance.max_power_w, s.num_tasks, pulse=s.pulse)
    return _Stage(problem, instance, start)


def _alternate(stage: _Stage) -> Tensor:
    i, s = stage.instance, stage.problem.scenario
    return alternating_precoders(
        i.channel,
        i.weight,
        i.max_power_w,
        s.noise_w,
        pulse=s.pulse,
        iterations=_ROUNDS,
        start=stage.start,
    )


def _conic(stage: _Stage) -> Tensor:
    """The same alternation of the first instance with a conic programme per device."""
    from baselines.convex.ota_feel import DeviceProgramme

    i, s = stage.instance[:1], stage.problem.scenario
    programme = DeviceProgramme.compiled(s.device_antennas, s.num_tasks)
    precoder, channel = stage.start[:1], i.channel[0]
    for _ in range(_ROUNDS):
        each = mmse_receivers(channel @ precoder, i.weight, s.noise_w)[0]
        seen = each.sum(0, keepdim=True) if s.pulse == "none" else each
        heard = torch.einsum("knm,lnr->klmr", channel.conj(), seen)
        gram = torch.einsum("klmr,klqr->kmq", heard, heard.conj()).numpy()
        own = heard[:, 0] if s.pulse == "none" else heard.diagonal(dim1=0, dim2=1).movedim(-1, 0)
        wanted = (own * i.weight[0, :, None]).numpy()
        found = [
            programme.solve(gram[k], wanted[k], float(i.max_power_w[0, k]))[0]
            for k in range(s.num_devices)
        ]
        precoder = torch.stack([torch.from_numpy(c) for c in found])[None]
    return precoder


def _same_error(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    few = stage.first(len(theirs))
    i, s = few.instance, few.problem.scenario
    first, second = (
        task_errors(i.channel @ c, i.weight, s.noise_w, pulse=s.pulse).sum(-1)
        for c in (ours[: len(theirs)], theirs)
    )
    gap = float((first / second - 1).abs().max())
    return Check(is_correct=gap <= 1e-5, facts={"largest_relative_gap": gap})


def _information(stage: _Stage) -> Tensor:
    decision = OtaFeelDecision(stage.start)
    return stage.problem.information(stage.instance, decision, interference=False)


def _by_autograd(stage: _Stage) -> Tensor:
    """2 Re of the Gram matrix of the mean echoes' Jacobian, for four instances."""
    s, found = stage.problem.scenario, []
    for lane in range(4):
        i, c = stage.instance[lane : lane + 1], stage.start[lane : lane + 1]
        scale = (s.frame_length / i.echo_noise_w).sqrt()[..., None, None]

        def mean(
            target: Tensor, i: OtaFeelInstance = i, c: Tensor = c, scale: Tensor = scale
        ) -> Tensor:
            a = response(
                i.position,
                target,
                array=s.array,
                num_elements=s.device_antennas,
                gain=s.reference_gain,
                exponent=s.path_exponent,
            )[0]
            echo = scale * a[..., None] * (a[..., None, :] @ c)
            return torch.view_as_real(echo).flatten()

        jacobian = cast(Tensor, torch.autograd.functional.jacobian(mean, i.target))[:, 0]
        found.append(2 * jacobian.mT @ jacobian)
    return torch.stack(found)


def _same_information(stage: _Stage, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[: len(theirs)] - theirs).abs().max() / theirs.abs().max())
    return Check(is_correct=gap <= 1e-10, facts={"largest_relative_gap": gap})


@dataclass(frozen=True)
class _Training:
    """Random images of MNIST's shape, and what every device trains on."""

    network: Network
    weights: Tensor
    images: Tensor
    labels: Tensor
    index: Tensor


def _training_stage() -> _Training:
    network, streams = mlp(784, 32, 10), Streams.from_seed(0, _LANES)
    draw = Streams.from_seed(1, 2048)
    images = draw.uniform("pixel", 784, dtype=torch.float32)
    labels = draw.integers("label", 1, high=10)[:, 0]
    index = streams.integers("image", _STEPS, 15, _IMAGES, high=2048).movedim(1, 0)
    weights = initial_weights(network, streams)
    return _Training(network, weights, images, labels, index.contiguous())


def _train(stage: _Training) -> Tensor:
    s = stage
    return local_updates(s.network, s.weights, s.images, s.labels, s.index, learning_rate=_RATE)


def _by_modules(stage: _Training) -> Tensor:
    """Updates of the first environment, (1, K, d), as one would write them first."""
    s, found = stage, []
    parts = [view[0] for view in s.network.unpack(s.weights[:1])]
    for device in range(s.index.shape[2]):
        model = torch.nn.Sequential(
            torch.nn.Linear(784, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
        )
        _load(model, parts)
        optimiser = torch.optim.SGD(model.parameters(), lr=_RATE)
        for batch in s.index[:, 0, device]:
            optimiser.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(s.images[batch]), s.labels[batch])
            loss.backward()
            optimiser.step()
        found.append(
            torch.cat([_as_row(p, q) for p, q in zip(_tensors(model), parts, strict=True)])
        )
    return torch.stack(found)[None]


def _tensors(model: torch.nn.Module) -> list[Tensor]:
    return [p.detach() for p in model.parameters()]


def _load(model: torch.nn.Module, parts: list[Tensor]) -> None:
    for parameter, part in zip(_tensors(model), parts, strict=True):
        parameter.copy_(part if part.shape == parameter.shape else part.mT)


def _as_row(trained: Tensor, start: Tensor) -> Tensor:
    same = trained if trained.shape == start.shape else trained.mT
    return (same - start).flatten()


def _same_updates(stage: _Training, ours: Tensor, theirs: Tensor) -> Check:
    gap = float((ours[:1] - theirs).abs().max() / theirs.abs().max())
    return Check(is_correct=gap <= 1e-4, facts={"largest_relative_gap": gap})


@dataclass(frozen=True)
class _Federation:
    """Federations before a round in which the target has been found."""

    process: OtaFeelFederated
    state: OtaFeelFederatedState
    streams: Streams

    def first(self, count: int) -> "_Federation":
        """The first environments only."""
        return _Federation(self.process, self.state[:count], self.streams[:count])


def _federation() -> _Federation:
    process = federated_process("joint", scheme="joint", rounds=40)
    streams = Streams.from_seed(0, _LANES)
    state = process.initial(streams)
    for number in (1, 2, 3):
        decision = OtaFeelDecision(state.plan)
        state = process.advance(state, decision, streams.at_step(number)).state
    return _Federation(process, state, streams.at_step(4))


@torch.no_grad()
def _advance(stage: _Federation) -> OtaFeelFederatedState:
    decision = OtaFeelDecision(stage.state.plan)
    return stage.process.advance(stage.state, decision, stage.streams).state


def _same_state(
    stage: _Federation, ours: OtaFeelFederatedState, theirs: OtaFeelFederatedState
) -> Check:
    gap = float((ours.loss[:1] - theirs.loss).abs().max())
    facts = {"largest_gap_of_the_loss": gap, "peak_mib_of_a_round_b64": _peak_mib()}
    return Check(is_correct=gap <= 1e-5, facts=facts)


_MEMORY = """
import resource, torch
from baselines.ota_feel.federated import run_federated
torch.set_num_threads(1)
run_federated("joint", seeds=1, rounds=1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
run_federated("joint", seeds=64, rounds=1)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""


def _peak_mib() -> float:
    """Memory that 64 environments need beyond one, in MiB, in a process of its own (Linux)."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY], capture_output=True, text=True, check=True
    )
    return float(done.stdout)
