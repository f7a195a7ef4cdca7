"""Benchmark rows of training: SB3 on our lanes and on single envs, gradients against PPO."""

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from agents.amortised.train import AmortisedConfig, gradient_steps, make_network
from agents.evaluation import certifier, episode_seeds
from agents.network import PolicyNetwork
from agents.training import TrainingTask
from isac_gym.bench import BenchRow, Check, Side
from isac_gym.core.process import Process
from isac_gym.core.random import Streams
from isac_gym.core.units import db_to_linear

__all__ = ["rows"]

_DYNAMIC, _STATIC = "isac/PowerControl-v0", "isac/PowerControlStatic-v0"
_NUM_ENVS = 64
_SAME = 1e-6  # largest difference of observations and rewards of the two vector envs
_SHARE = 0.93  # of the optimum, mean over held-out instances
_DIRECT_STEPS = 512_000
_PPO_LIMIT = 1_000_000  # steps after which PPO counts as not arriving


def rows() -> list[BenchRow]:
    """Rows of this package."""
    return [
        BenchRow(
            name="training/ppo-steps",
            unit="step",
            ours=Side(
                label=f"SB3 PPO on IsacVecEnv({_NUM_ENVS})",
                run=lambda context: context.learn(0),
                units=lambda context: context.steps,
            ),
            theirs=Side(
                label=f"SB3 PPO on DummyVecEnv({_NUM_ENVS})",
                run=lambda context: context.learn(1),
                units=lambda context: context.steps,
            ),
            target=1.8,
            prepare=_prepare_vector_envs,
            check=_check_vector_envs,
        ),
        BenchRow(
            name="training/time-to-share",
            unit="run",
            ours=Side(
                label="gradient of the score",
                run=lambda context: context.direct.advance(),
                units=lambda context: context.direct.fraction,
            ),
            theirs=Side(
                label="SB3 PPO, tuned (gamma 0, symmetric actions)",
                run=lambda context: context.ppo.advance(),
                units=lambda context: context.ppo.fraction,
            ),
            target=20.0,
            prepare=_prepare_race,
            check=_check_race,
        ),
    ]


@dataclass(frozen=True)
class _VectorEnvs:
    """Two PPO models with the same hyper-parameters on the two vector envs."""

    models: tuple[Any, Any]
    envs: tuple[Any, Any]
    steps: int

    def learn(self, index: int) -> None:
        """Train one of the models for ``steps``."""
        self.models[index].learn(self.steps, reset_num_timesteps=False)


def _prepare_vector_envs(quick: bool) -> _VectorEnvs:
    from agents.sb3.train import PpoConfig, make_ppo
    from agents.sb3.vec_env import IsacVecEnv, serial_vec_env

    rollout = 4 if quick else 16
    config = PpoConfig(num_envs=_NUM_ENVS, rollout=rollout, batch_size=256, epochs=4)
    task = TrainingTask(environment=_DYNAMIC, steps=rollout * _NUM_ENVS)
    batched = IsacVecEnv(_DYNAMIC, _NUM_ENVS, seed=0)
    single = serial_vec_env(_DYNAMIC, _NUM_ENVS)
    single.seed(0)
    with torch.random.fork_rng(devices=[]):
        models = tuple(make_ppo(task, config, env=env) for env in (batched, single))
    return _VectorEnvs((models[0], models[1]), (batched, single), rollout * _NUM_ENVS)


def _check_vector_envs(context: _VectorEnvs, ours: object, theirs: object) -> Check:
    """Both vector envs must say the same when reset with the same seeds and played alike."""
    del ours, theirs
    shape = (5, _NUM_ENVS, *context.envs[0].action_space.shape)
    actions = np.linspace(-1, 1, np.prod(shape), dtype=np.float32).reshape(shape)
    played = []
    for env in context.envs:
        env.seed(1)
        seen = [env.reset()]
        for action in actions:
            observation, reward, _, _ = env.step(action)
            seen += [observation, reward[:, None]]
        played.append(np.concatenate(seen, 1))
    difference = float(np.abs(played[0] - played[1]).max())
    return Check(is_correct=difference <= _SAME, facts={"largest_difference": difference})


@dataclass
class _Runner:
    """A training run that has been taken to the target once and is then timed slice by slice."""

    slices: Iterator[int]
    network: Callable[[], PolicyNetwork]
    needed: int = 0
    per_slice: int = 0
    share: float = 0.0

    @property
    def fraction(self) -> float:
        """Part of the whole run to the target that one slice is."""
        return self.per_slice / self.needed

    def advance(self) -> int:
        """Train one slice; steps done so far."""
        return next(self.slices)

    def run_to(self, share: Callable[[PolicyNetwork], float], target: float, limit: int) -> None:
        """Train until ``share`` of the policy reaches ``target``, or for ``limit`` steps."""
        done = 0
        while self.share < target and done < limit:
            self.per_slice, done = -done, next(self.slices)
            self.per_slice += done
            self.share = share(self.network())
        self.needed = done


@dataclass(frozen=True)
class _Race:
    direct: _Runner
    ppo: _Runner
    held_out: Callable[[PolicyNetwork], float]
    target: float
    arrived: tuple[PolicyNetwork, PolicyNetwork]


def _prepare_race(quick: bool) -> _Race:
    target = 0.7 if quick else _SHARE
    validation, held_out = (_share_of(_STATIC, split) for split in ("validation", "held-out"))
    direct, ppo = _direct_runner(), _ppo_runner()
    direct.run_to(validation, target, _DIRECT_STEPS // 2)
    ppo.run_to(validation, target, _PPO_LIMIT)
    arrived = copy.deepcopy(direct.network()), copy.deepcopy(ppo.network())
    return _Race(direct, ppo, held_out, target, arrived)


def _check_race(context: _Race, ours: object, theirs: object) -> Check:
    """Ours must have arrived on other instances too; if PPO has not, the ratio is a lower bound."""
    del ours, theirs
    ours_share, ppo_share = (context.held_out(network) for network in context.arrived)
    return Check(
        is_correct=ours_share >= context.target - 0.01,
        facts={
            "target_share": context.target,
            "our_share": ours_share,
            "ppo_share": ppo_share,
            "our_steps": float(context.direct.needed),
            "ppo_steps": float(context.ppo.needed),
        },
    )


def _direct_runner() -> _Runner:
    config = AmortisedConfig(warm_up=20, pool_size=4096)
    task = TrainingTask(environment=_STATIC, steps=_DIRECT_STEPS)
    network = make_network(task, config)
    steps = gradient_steps(network, task, config)

    def slices() -> Iterator[int]:
        return (done for count, done in enumerate(steps, start=1) if count % 10 == 0)

    return _Runner(slices(), lambda: network)


def _ppo_runner() -> _Runner:
    from agents.sb3.train import PpoConfig, export_actor, make_ppo

    task = TrainingTask(environment=_STATIC, steps=_PPO_LIMIT)
    config = dataclasses.replace(PpoConfig.default_for(task.process), is_annealed=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_ppo(task, config)
    per_slice = config.rollout * config.num_envs

    def slices() -> Iterator[int]:
        while True:
            model.learn(per_slice, reset_num_timesteps=False)
            yield model.num_timesteps

    return _Runner(slices(), lambda: export_actor(cast(Any, model.policy)))


def _share_of(environment: str, split: str) -> Callable[[PolicyNetwork], float]:
    """Function that gives a network's mean share of the certified optimum on a split."""
    process: Process = TrainingTask(environment=environment, steps=1).process
    seeds = episode_seeds(environment, split, 2048)
    state: Any = process.initial(Streams.from_seeds(seeds))
    observation = process.observe(state)
    certified = certifier(process, seeds)
    bound: Tensor = torch.zeros(0) if certified is None else certified[1]

    def share(network: PolicyNetwork) -> float:
        with torch.no_grad():
            decision = process.decode(state, network(observation))
            objective = process.problem.metrics(process.truth(state), decision).objective
            return float(db_to_linear(objective - bound).mean())

    return share
