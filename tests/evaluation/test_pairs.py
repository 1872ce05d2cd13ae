"""Random pairs, scores over them, and what chance explains."""

import numpy as np
import pytest
from scipy import stats

from jaxsurf.evaluation import metrics, pairs
from jaxsurf.manifold.path import LatentPath


def pictures(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, 5, 7, 3), dtype=np.uint8)


def apart(ends):
    return np.abs(ends[:, 0] - ends[:, 1]).astype(float)


@pytest.mark.parametrize("distance", [None, apart, lambda ends: np.ones(len(ends))])
@pytest.mark.parametrize(("num_points", "num_pairs"), [(23, 200), (7, 21), (1_000_000, 9)])
def test_pairs_are_different_points_never_joined_twice(num_points, num_pairs, distance):
    chosen = pairs.choose_pairs(num_points, num_pairs, seed=0, distance=distance)
    assert chosen.min() >= 0
    assert chosen.max() < num_points
    assert np.all(chosen[:, 0] != chosen[:, 1])
    assert len({frozenset(pair) for pair in chosen.tolist()}) == len(chosen) == num_pairs


def test_pairs_are_spread_evenly_over_a_distance():
    chosen = pairs.choose_pairs(211, 97, seed=1, distance=apart)
    # Of pairs at random half are less than 62 apart, and a twentieth less than 6.
    counts, _ = np.histogram(apart(chosen), bins=5, range=(0, 211))
    assert counts.min() >= 17
    assert np.any(chosen[:, 0] < chosen[:, 1])
    assert np.any(chosen[:, 0] > chosen[:, 1])


def test_a_score_is_reduced_over_each_pairs_own_frames():
    images = pictures(11, 4)
    frames = [pictures(3, 1), pictures(1, 2), images[2:5]]
    paths = [LatentPath(np.arange(2.0 * len(some)).reshape(-1, 2)) for some in frames]
    scores = pairs.score(frames, images, paths=paths)
    for i, some in enumerate(frames):
        errors = metrics.nearest_images(some, images).mse
        assert scores["interpolation_mse"][i] == pytest.approx(errors.mean(), rel=1e-6)
        assert scores["interpolation_mse_worst"][i] == pytest.approx(errors.max(), rel=1e-6)
        assert scores["nearest_image"][i] == pytest.approx(np.sqrt(errors).mean(), rel=1e-6)
        assert scores["step_mean"][i] == metrics.smoothness(some)["mean"]
        assert scores["path_length"][i] == pytest.approx(np.sqrt(8) * (len(some) - 1))
    assert scores["interpolation_mse"][2] == 0.0
    assert "path_length" not in pairs.score(frames, images)


def test_the_interval_of_a_normal_sample_is_close_to_students():
    values = np.random.default_rng(1).normal(10.0, 2.0, 400)
    found = pairs.interval(values, seed=0)
    expected = stats.t.interval(0.95, 399, values.mean(), stats.sem(values))
    interval = [found["low"], found["high"]]
    np.testing.assert_allclose(interval, expected, atol=0.15 * stats.sem(values))
    assert found["mean"] == pytest.approx(values.mean())


def evaluation_of(scores):
    return pairs.summarise(scores, reconstruction={"mse": 0.01, "psnr_db": 20.0}, seed=0)


SCORES = {
    "linear": {"interpolation_mse": np.array([4.0, 2.0, 6.0]), "path_length": np.ones(3)},
    "surfing": {"interpolation_mse": np.array([1.0, 2.0, 3.0]), "path_length": np.full(3, 2.0)},
    "pixel": {"interpolation_mse": np.array([8.0, 9.0, 1.0])},
}


@pytest.mark.core
def test_versus_is_ratio_of_means_and_share_of_pairs_strictly_better():
    assert evaluation_of(SCORES)["versus"] == {
        "surfing": {
            "interpolation_mse": {"ratio": 0.5, "win_rate": pytest.approx(2 / 3)},
            "path_length": {"ratio": 2.0, "win_rate": 0.0},
        },
        "pixel": {"interpolation_mse": {"ratio": 1.5, "win_rate": pytest.approx(1 / 3)}},
    }
    assert evaluation_of({"surfing": SCORES["surfing"]})["versus"] == {}
    forth = {"linear": {"progress": np.ones(2)}, "surfing": {"progress": np.array([0.5, 2.0])}}
    assert evaluation_of(forth)["versus"]["surfing"]["progress"]["win_rate"] == 0.5
    still = {"linear": {"step_mean": np.zeros(2)}, "surfing": {"step_mean": np.ones(2)}}
    assert evaluation_of(still)["versus"]["surfing"]["step_mean"]["ratio"] is None


def test_the_table_has_a_row_for_each_pair_and_method():
    table = pairs.rows(SCORES, np.array([[5, 7], [1, 0], [2, 3]]))
    assert len(table) == 9
    expected = {"source": 1, "target": 0, "method": "surfing", "interpolation_mse": 2.0}
    assert table[4] == expected | {"path_length": 2.0}
    assert table[5]["path_length"] == ""
    text = pairs.csv_text([{"name": "a, b", "value": 1.5}, {"name": "c", "value": ""}])
    assert text == 'name,value\n"a, b",1.5\nc,\n'
