import pytest
import torch

from baselines.ota_feel.alternating import uplink
from baselines.ota_feel.varpro import least_error, random_receivers
from baselines.registry import make_solver
from isac_gym.core.errors import ScenarioError
from isac_gym.core.family import family
from isac_gym.core.random import Streams
from isac_gym.core.solution import Status
from isac_gym.physics.precoding import best_precoders


def drawn(preset="coherent", batch=8):
    problem = family("ota_feel").make_problem(preset)
    return problem, problem.sample(Streams.from_seed(0, batch))


def nmse(problem, instance, solver, **arguments):
    decision = solver.solve(problem, instance, **arguments).decision
    found = problem.evaluate(instance, decision)
    assert (found.violation <= 1e-12).all()
    return found.nmse


@pytest.mark.parametrize("preset", ["coherent", "paper", "unequal"])
def test_least_error__is_that_of_the_best_precoders(preset):
    problem, instance = drawn(preset, 2)
    link, pulse = uplink(problem, instance), problem.scenario.pulse
    receiver = random_receivers(link, 1, 0, pulse=pulse)[:, 0]
    value, _, _ = least_error(link, receiver, pulse=pulse)
    heard = instance.channel @ best_precoders(link, receiver, pulse=pulse).mT
    m = receiver.conj()
    target = torch.diag_embed(instance.weight).to(heard.dtype)
    if pulse == "none":
        left = (m[:, None].mH @ heard - target).abs().square().sum((1, 2, 3))
    else:
        m_k = m.unflatten(2, instance.weight.shape[1:])
        cross = torch.einsum("bnli,bknj->blkij", m_k.conj(), heard)
        own = torch.eye(15, dtype=torch.float64)[:, :, None, None]
        left = (cross - own * target[:, None]).abs().square().sum((1, 2, 3, 4))
    noise = problem.scenario.noise_w * m.abs().square().sum((-2, -1))
    torch.testing.assert_close(value, left + noise)


@pytest.mark.parametrize("preset", ["coherent", "paper", "unequal"])
def test_least_error__gradient_is_that_of_differences(preset):
    problem, instance = drawn(preset, 2)
    link, pulse = uplink(problem, instance), problem.scenario.pulse
    receiver, way = random_receivers(link, 2, 0, pulse=pulse).unbind(1)
    _, slope, _ = least_error(link, receiver, pulse=pulse)
    step = 1e-5
    up, down = (least_error(link, receiver + s * way, pulse=pulse)[0] for s in (step, -step))
    expected = 2 * (slope.conj() * way).real.sum((-2, -1))
    torch.testing.assert_close((up - down) / (2 * step), expected, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize(
    ("preset", "one", "several"),
    [("low-snr", 0.0222, 0.0219), ("coherent", 0.0024, 0.0023), ("high-snr", 0.00035, 0.00028)],
)
def test_varpro__is_no_worse_than_specified(preset, one, several):
    """Specification: medians of 16 instances with one and four random starts."""
    problem, instance = drawn(preset, 16)
    for starts, median in ((1, one), (4, several)):
        solver = make_solver("ota_feel", "varpro-lbfgs", starts=starts, iterations=250)
        assert float(nmse(problem, instance, solver).median()) < median


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["low-snr", "coherent", "high-snr"])
def test_varpro__adam_and_lbfgs_agree(preset):
    problem, instance = drawn(preset, 16)
    left, right = (
        nmse(problem, instance, make_solver("ota_feel", name))
        for name in ("varpro", "varpro-lbfgs")
    )
    assert float(left.median()) == pytest.approx(float(right.median()), rel=0.02)


@pytest.mark.parametrize("preset", ["coherent", "unequal"])
def test_varpro_lbfgs__beats_ten_times_as_many_rounds_of_alternation(preset):
    problem, instance = drawn(preset)
    slow = make_solver("ota_feel", "ao", iterations=400)
    quick = make_solver("ota_feel", "varpro-lbfgs", iterations=40, starts=1)
    left, right = (nmse(problem, instance, each).median() for each in (quick, slow))
    assert float(left) < 1.1 * float(right)


@pytest.mark.parametrize("name", ["varpro", "varpro-lbfgs"])
def test_varpro__trace_never_falls_and_more_starts_never_lose(name):
    problem, instance = drawn()
    one = make_solver("ota_feel", name, iterations=40, starts=1)
    solution = one.solve(problem, instance)
    history = solution.trace.objective
    assert (history[:, 1:] >= history[:, :-1]).all()
    found = problem.evaluate(instance, solution.decision)
    assert (found.objective >= history[:, -1] - 1e-9).all()  # the receiver improves last
    three = make_solver("ota_feel", name, iterations=40, starts=3)
    assert (nmse(problem, instance, three) <= found.nmse * (1 + 1e-9)).all()


def test_varpro_lbfgs__starts_where_it_is_told():
    problem, instance = drawn()
    start = make_solver("ota_feel", "ao", iterations=20).solve(problem, instance).decision
    before = problem.evaluate(instance, start).nmse
    solver = make_solver("ota_feel", "varpro-lbfgs", iterations=1, starts=1)
    assert (nmse(problem, instance, solver, start=start) <= before).all()


@pytest.mark.parametrize("name", ["varpro", "varpro-lbfgs"])
def test_varpro__a_lane_does_not_depend_on_its_batch(name):
    problem, instance = drawn(batch=4)
    solver = make_solver("ota_feel", name, iterations=15, starts=2)
    whole = solver.solve(problem, instance)
    for row in range(4):
        alone = solver.solve(problem, instance[row : row + 1])
        torch.testing.assert_close(
            alone.decision.precoder[0], whole.decision.precoder[row], rtol=1e-7, atol=1e-9
        )


def test_varpro_lbfgs__lanes_stop_by_themselves():
    problem, instance = drawn("small")
    solution = make_solver("ota_feel", "varpro-lbfgs", starts=1).solve(problem, instance)
    assert (solution.status == int(Status.CONVERGED)).all()
    assert len(set(solution.iterations.tolist())) > 1


@pytest.mark.parametrize("name", ["varpro", "varpro-lbfgs"])
def test_varpro__a_bad_lane_fails_alone(name):
    problem, instance = drawn(batch=3)
    solver = make_solver("ota_feel", name, iterations=5, starts=2)
    good = solver.solve(problem, instance)
    instance.channel[1, 0, 0, 0] = torch.nan
    bad = solver.solve(problem, instance)
    assert bad.status.tolist()[1] == int(Status.FAILED)
    assert torch.equal(bad.decision.precoder[[0, 2]], good.decision.precoder[[0, 2]])


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("varpro", "iterations", 0),
        ("varpro", "starts", 0),
        ("varpro", "learning_rate", 0.0),
        ("varpro-lbfgs", "tolerance", 0.0),
        ("varpro-lbfgs", "starts", -1),
    ],
)
def test_varpro__bad_fields_are_named(name, field, value):
    with pytest.raises(ScenarioError, match=field):
        make_solver("ota_feel", name, **{field: value})
