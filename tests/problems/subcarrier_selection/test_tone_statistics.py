import numpy as np
import torch

from isac_gym.core import Streams
from isac_gym.problems.subcarrier_selection.model import SubcarrierSelection
from isac_gym.problems.subcarrier_selection.records import SubcarrierDecision
from isac_gym.problems.subcarrier_selection.scenario import SubcarrierScenario
from isac_gym.problems.subcarrier_selection.tone_statistics import (
    explained_alone,
    fisher_score,
    loss_without,
)

PROBLEM = SubcarrierSelection(scenario=SubcarrierScenario.preset("tiny-8"))
SOFT = SubcarrierSelection(
    scenario=SubcarrierScenario.preset("tiny-8", evaluator="soft_neighbours")
)


def rooms(batch=3):
    return PROBLEM.sample(Streams.from_seed(8, batch))


def errors(room, mask):
    found = SOFT.evaluate(SOFT.known(room), SubcarrierDecision(mask.expand(room.batch_size, -1)))
    return torch.stack([found.error_location, found.error_sensing], -1)


def test_importances__equal_single_evaluations():
    room = rooms()
    alone, loss = explained_alone(PROBLEM, room), loss_without(PROBLEM, room)
    whole = errors(room, torch.ones(8, dtype=torch.bool))
    for tone in range(8):
        mask = torch.arange(8) == tone
        torch.testing.assert_close(alone[:, tone], 1 - errors(room, mask))
        torch.testing.assert_close(loss[:, tone], errors(room, ~mask) - whole)


def test_fisher_score__by_classes_in_loops():
    room = rooms()
    found = fisher_score(PROBLEM, room)
    raw = room.train_label * room.label_scale[:, None] + room.label_mean[:, None]
    for lane in range(3):
        activity = raw[lane, :, 2:].argmax(-1).numpy()
        x = room.train[lane].numpy()
        for tone in range(8):
            ratios = []
            for feature in range(x.shape[-1]):
                values = x[:, tone, feature]
                parts = [values[activity == a] for a in range(3)]
                between = sum(len(p) * (p.mean() - values.mean()) ** 2 for p in parts)
                within = sum(((p - p.mean()) ** 2).sum() for p in parts)
                ratios.append(between / within)
            np.testing.assert_allclose(float(found[lane, tone]), np.mean(ratios), rtol=1e-9)


def test_statistics__never_look_at_the_scored_windows():
    room = rooms()
    other = room.replace(score=-room.score, score_label=room.score_label.flip(1))
    for statistic in (explained_alone, loss_without, fisher_score):
        assert torch.equal(statistic(PROBLEM, room), statistic(PROBLEM, other))
