"""Diffusion filters against a loop over users, and what must not change them."""

from typing import Any

import pytest
import torch
from torch import Tensor

from isac_gym.core.errors import ScenarioError
from isac_gym.core.random import Streams
from isac_gym.physics.diffusion import diffuse
from isac_gym.physics.graphs import metropolis, proximity_graph
from isac_gym.physics.imaging import receive
from tests.oracles.diffusion import central_loop, user_loop

B, K, V, L = 3, 5, 6, 17
BLOCKS = torch.tensor([0, 0, 1, 1, 1, 2])
RULES: dict[str, dict[str, Any]] = {
    "lms": {},
    "lms-l1": {"l1": 0.1},
    "lms-l21": {"l21": 0.1, "blocks": BLOCKS},
    "tls": {"estimator": "tls"},
    "tls-gamma-both": {
        "estimator": "tls", "gamma": 0.7, "l1": 0.05, "l21": 0.07, "blocks": BLOCKS,
    },
}  # fmt: skip


class _Case:
    """A small network; steps differ between users."""

    def __init__(self, *, lanes: int = B, seed: int = 0) -> None:
        streams = Streams.from_seed(seed, lanes)
        self.channel = streams.complex_normal("channel", K, V)
        self.lit = streams.complex_normal("lit", L, V)
        self.image = streams.complex_normal("image", V)
        noise = streams.complex_normal("noise", L, K)
        self.received = receive(self.channel, self.image, self.lit) + 0.3 * noise
        self.start = 0.1 * streams.complex_normal("start", K, V)
        self.weight = metropolis(proximity_graph(streams.uniform("place", K, 3), K))
        self.step = 0.02 + 0.06 * streams.uniform("step", K)

    def run(self, **options: Any) -> Tensor:
        given: dict[str, Any] = {"weight": self.weight, "step": self.step} | options
        return diffuse(self.start, self.lit, self.received, self.channel, **given).estimate

    def arrays(self, lane: int) -> list[Any]:
        tensors = (self.start, self.channel, self.lit, self.received, self.step, self.weight)
        return [t[lane].numpy() for t in tensors]


def _plain(rule: dict[str, Any]) -> dict[str, Any]:
    found = {name: value for name, value in rule.items() if name != "estimator"}
    if "blocks" in found:
        found["blocks"] = found["blocks"].numpy()
    return found | {"tls": rule.get("estimator") == "tls"}


@pytest.fixture
def case() -> _Case:
    return _Case()


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("every", [1, 4])
def test_all_lanes_follow_the_loop_over_users(
    case: _Case, rule: dict[str, Any], every: int
) -> None:
    found = case.run(exchange_every=every, **rule)
    for lane in range(B):
        wanted = user_loop(*case.arrays(lane), **_plain(rule), every=every)
        assert abs(found[lane].numpy() - wanted).max() < 1e-10


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_without_weights_users_are_alone(case: _Case, rule: dict[str, Any]) -> None:
    *given, _ = case.arrays(1)
    wanted = user_loop(*[*given, None], **_plain(rule))
    assert abs(case.run(weight=None, **rule)[1].numpy() - wanted).max() < 1e-10
    eye = torch.eye(K, dtype=torch.float64).expand(B, K, K)
    torch.testing.assert_close(case.run(weight=eye, **rule), case.run(weight=None, **rule))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_central_filter_follows_its_loop(case: _Case, rule: dict[str, Any]) -> None:
    case.start = case.start[:, :1].expand(-1, K, -1)
    step = torch.full_like(case.step, 0.05)
    found = case.run(step=step, is_central=True, **rule)
    start, channel, lit, received, _, _ = case.arrays(2)
    wanted = central_loop(start[0], channel, lit, received, 0.05, **_plain(rule))
    assert abs(found[2].numpy() - wanted).max() < 1e-10


def test_the_curve_ends_at_the_last_image_and_records_every_sample(case: _Case) -> None:
    rule: dict[str, Any] = RULES["tls-gamma-both"] | {"weight": case.weight, "step": case.step}
    inputs = (case.start, case.lit, case.received, case.channel)
    found = diffuse(*inputs, **rule, reference=case.image, exchange_every=3)
    torch.testing.assert_close(
        found.estimate, case.run(**RULES["tls-gamma-both"], exchange_every=3)
    )
    assert found.msd is not None
    assert found.msd.shape == (B, L)
    for count in (2, 3, L):
        part = (case.start, case.lit[:, :count], case.received[:, :count], case.channel)
        image = diffuse(*part, **rule, exchange_every=3).estimate
        msd = (image - case.image[:, None]).abs().square().sum(-1).mean(-1)
        torch.testing.assert_close(found.msd[:, count - 1], msd)


def test_users_may_have_their_own_illumination(case: _Case) -> None:
    own = case.lit[:, :, None].expand(-1, -1, K, -1)
    inputs = (case.start, own, case.received, case.channel)
    found = diffuse(*inputs, case.weight, step=case.step).estimate
    torch.testing.assert_close(found, case.run())
    turned = own * torch.linspace(0.5, 1.5, K, dtype=torch.float64)[:, None]
    both = case.channel * torch.linspace(0.5, 1.5, K, dtype=torch.float64)[:, None]
    first = diffuse(case.start, turned, case.received, case.channel, None, step=case.step)
    second = diffuse(case.start, case.lit, case.received, both, None, step=case.step)
    torch.testing.assert_close(first.estimate, second.estimate)


def test_cooperation_helps() -> None:
    case = _Case(lanes=20, seed=3)
    case.start = torch.zeros_like(case.start)
    together, alone = (case.run(weight=w) for w in (case.weight, None))
    errors = [(x - case.image[:, None]).abs().square().sum((-2, -1)) for x in (together, alone)]
    assert float((errors[0] / errors[1]).mean()) < 0.7


def test_permuted_users_give_permuted_images(case: _Case) -> None:
    rule, order = RULES["tls-gamma-both"], torch.tensor([3, 0, 4, 1, 2])
    wanted = case.run(**rule)[:, order]
    case.channel, case.start = case.channel[:, order], case.start[:, order]
    case.received, case.step = case.received[..., order], case.step[:, order]
    case.weight = case.weight[:, order][:, :, order]
    torch.testing.assert_close(case.run(**rule), wanted)


def test_lms_scales_with_the_image_and_tls_does_not(case: _Case) -> None:
    before = {name: case.run(estimator=name) for name in ("lms", "tls")}
    case.start, case.received = 2 * case.start, 2 * case.received
    torch.testing.assert_close(case.run(estimator="lms"), 2 * before["lms"])
    assert float((case.run(estimator="tls") - 2 * before["tls"]).abs().max()) > 1e-2


def test_penalties_have_no_direction_at_zero(case: _Case) -> None:
    case.start, case.received = torch.zeros_like(case.start), torch.zeros_like(case.received)
    for rule in RULES.values():
        assert case.run(**rule).abs().max() == 0


def test_a_lane_does_not_see_its_neighbours(case: _Case) -> None:
    rule, before = RULES["tls-gamma-both"], case.run(**RULES["tls-gamma-both"])
    case.received, case.step = case.received.clone(), case.step.clone()
    case.received[1], case.step[1] = torch.nan, 1e9
    after = case.run(**rule)
    assert torch.equal(after[[0, 2]], before[[0, 2]])
    assert not after[1].isfinite().any()


def test_large_batches_are_the_same_filter() -> None:
    case = _Case(lanes=70)
    found = case.run(**RULES["tls-gamma-both"])
    wanted = user_loop(*case.arrays(69), **_plain(RULES["tls-gamma-both"]))
    assert abs(found[69].numpy() - wanted).max() < 1e-10


def test_inputs_are_not_written_to(case: _Case) -> None:
    before = [t.clone() for t in (case.start, case.lit, case.received, case.channel)]
    case.run(**RULES["tls-gamma-both"])
    for old, new in zip(before, (case.start, case.lit, case.received, case.channel), strict=True):
        assert torch.equal(old, new)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_gradients_in_step_and_weights_are_those_of_differences(rule: dict[str, Any]) -> None:
    case = _Case(lanes=1)
    case.lit, case.received = case.lit[:, :4], case.received[:, :4]

    def run(step: Tensor, weight: Tensor, start: Tensor) -> Tensor:
        case.start = start
        return torch.view_as_real(case.run(step=step, weight=weight, **rule))

    inputs = [t.detach().clone().requires_grad_() for t in (case.step, case.weight, case.start)]
    assert torch.autograd.gradcheck(run, inputs)


def test_the_path_with_gradients_gives_the_same_images(case: _Case) -> None:
    for rule in RULES.values():
        with torch.no_grad():
            wanted = case.run(**rule)
        found = case.run(**rule, step=case.step.clone().requires_grad_())
        torch.testing.assert_close(found.detach(), wanted, rtol=0, atol=1e-12)


def test_single_precision_stays_single(case: _Case) -> None:
    wanted = case.run(**RULES["tls-gamma-both"])
    for name in ("start", "lit", "received", "channel"):
        setattr(case, name, getattr(case, name).to(torch.complex64))
    case.weight, case.step = case.weight.float(), case.step.float()
    found = case.run(**RULES["tls-gamma-both"])
    assert found.dtype == torch.complex64
    torch.testing.assert_close(found.to(torch.complex128), wanted, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"estimator": "rls"}, "estimator must be one of"),
        ({"gamma": 0.0}, "gamma must be > 0"),
        ({"exchange_every": 0}, "exchange_every must be >= 1"),
        ({"l21": 0.1}, "blocks must be given"),
    ],
)
def test_wrong_settings_are_refused(case: _Case, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        case.run(**options)
