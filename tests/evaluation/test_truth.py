"""The truth: what frames show, where they should be, and what no cheat gets past."""

import dataclasses
import functools
import logging

import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.evaluation import image_metric, pairs, pose_kernels, truth
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.sources import open_images

FRAMES = truth.LEAP_FRAMES


@pytest.fixture(scope="module", autouse=True)
def _cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("truth")))
        yield


def make(name, **options):
    images = open_images(name, **options)
    return images, truth.make_truth(images)


@pytest.fixture(scope="module")
def arm():
    return make("arm", side=24, stride=3)


@pytest.fixture(scope="module")
def torus():
    return make("torus", side=32, stride=2)


def straight(made, ends, share=None, aside=0.0):
    """Return the poses of true motion, straight in factors and the short way, or what is like it.

    `share` is the part of the way that is gone at each frame; `aside` how far beside it every other
    frame lies, in grid steps.
    """
    grid = made.lattice.grid
    source, target = np.moveaxis(grid.image_poses(ends), 1, 0)
    share = np.linspace(0, 1, FRAMES) if share is None else share
    whole = grid.short(target - source)[:, None]
    poses = source[:, None] + share[None, :, None] * whole
    if aside:
        beside = whole[..., ::-1] * [1, -1] / np.linalg.norm(whole, axis=-1, keepdims=True)
        poses += aside * beside * np.array([0, 1, 0, -1])[np.arange(FRAMES) % 4][:, None]
        poses = np.where(grid.around > 0, poses, np.clip(poses, 0, np.array(grid.shape) - 1))
    return poses


def draw(images, made, poses):
    """Return the frames of each pair."""
    return [images.draw(made.lattice.grid.factors(some)) for some in poses]


# Eight frames forward and two back, again and again.
STEPS = np.where(np.arange(FRAMES - 1) % 10 < 8, 1.0, -1.0)
# Shares of the way that are gone at each frame.
MOTIONS = {
    "true": np.linspace(0, 1, FRAMES),
    "reversed": np.linspace(1, 0, FRAMES),
    "trembling": np.clip(np.append(0.0, np.cumsum(STEPS)) / STEPS.sum(), 0, 1),
    "most": np.linspace(0.1, 0.9, FRAMES),
}


def cheat(name, images, made, ends):
    """Return the frames of a cheat for each pair; `true` is none."""
    if name in MOTIONS:
        return draw(images, made, straight(made, ends, MOTIONS[name]))
    if name == "shaking":
        return draw(images, made, straight(made, ends, aside=0.7))
    every, halves = images.images, np.repeat(ends, FRAMES // 2, axis=1)
    if name == "fade":
        share = np.linspace(0, 1, FRAMES)[:, None, None, None]
        mixed = [(1 - share) * every[source] + share * every[target] for source, target in ends]
        return [np.round(some).astype(np.uint8) for some in mixed]
    grid = made.lattice.grid
    nearest = np.round(straight(made, ends)).astype(int) % np.array(grid.shape)
    nodes = np.ravel_multi_index(tuple(np.moveaxis(nearest, -1, 0)), grid.shape)
    anywhere = np.random.default_rng(5).integers(len(images), size=(len(ends), FRAMES))
    anywhere[:, [0, -1]] = ends
    return every[
        {
            "random images": anywhere,
            "constant": np.repeat(ends[:, :1], FRAMES, axis=1),
            "cut": halves,
            "slide show": np.argsort(grid.nodes)[nodes],
        }[name]
    ]


def scored(name, images, made, ends, by=None):
    frames = list(cheat(name, images, made, ends))
    return dict(pairs.score(frames, images.images)) | dict((by or made).score(frames, ends))


def far_pairs(images, made, count):
    """Return pairs that are at least four grid steps apart."""
    ends = pairs.choose_pairs(len(images), 10 * count, seed=1)
    return ends[made.distance(ends) >= 4][:count]


@pytest.fixture(scope="module", params=["arm", "torus"])
def ground(request):
    """An image set, its truth, pairs, and the scores of true motion."""
    images, made = request.getfixturevalue(request.param)
    ends = far_pairs(images, made, 7)
    return images, made, ends, scored("true", images, made, ends)


def test_true_motion_has_no_fault(ground):
    _, made, ends, true = ground
    found, flawless = truth.faults(true, made)
    assert found == []
    assert flawless.tolist() == [True] * len(ends)
    # The lattice of so coarse a slice lies three quarters of the source's own steps apart.
    assert true["residual"].mean() < 4
    assert max(true["course"].max(), true["course_intrinsic"].max()) < 0.2
    assert true["progress"].mean() > 0.9
    np.testing.assert_allclose(true["walked"], 1, atol=0.05)
    assert not true["missed"].any()


@pytest.mark.parametrize(
    ("name", "given_away"),
    [
        ("random images", ("not right: course, walked", "not even: leaps")),
        ("constant", ("not right: course, missed", "not even: leaps")),
        ("reversed", ("not right: course, missed, walked", "not even: leaps")),
        ("cut", ("not right: course", "not even: step_jump, step_unevenness")),
        ("fade", ("not real: residual, residual_worst", "not right: course")),
        ("slide show", ("not even: step_unevenness, step_jump",)),
        ("trembling", ("not right: walked",)),
        ("shaking", ("not right: walked",)),
        ("most", ("not right: missed",)),
    ],
)
def test_a_cheat_is_given_away_and_behind_true_motion(ground, name, given_away):
    images, made, ends, true = ground
    scores = scored(name, images, made, ends)
    (share, *clauses), flawless = truth.faults(scores, made)
    assert share == f"without fault on {100 * flawless.mean():.3g} % of pairs"
    # A tenth of a short way is not much to see, nor is one frame back.
    assert flawless.mean() < (0.9 if name in ("trembling", "most") else 0.2)
    for fault in given_away:
        what, metrics = fault.split(": ")
        (clause,) = [each for each in clauses if each.startswith(what)]
        for metric in metrics.split(", "):
            assert f"{metric} " in clause
            assert scores[metric].mean() > true[metric].mean()


def test_faults_name_figures_past_their_limit_on_some_pair_and_no_others():
    course = {"course": [3.0, 0.9, 0.0], "course_length": [20.0, 2.0, 9.0]}
    scores = course | {"walked": [1.35, 0.8, 1.0], "missed": [1.0, 0.0, 0.0], "leaps": [0.0] * 3}
    scores = {name: np.array(values) for name, values in scores.items()}
    assert truth.faults(scores, None)[0] == []
    # No mean is past the limit.
    worse = {"course": np.array([3.01, 1.01, 0.0]), "missed": np.array([0.0, 1.01, 0.0])}
    worse |= {"leaps": np.array([1.0, 0.0, 0.0]), "step_jump": np.array([2.6, 1.0, 1.0])}
    clauses, flawless = truth.faults(scores | worse, None)
    assert clauses == [
        "not right on 66.7 % of pairs (course 66.7 %, missed 33.3 %)",
        "not even on 33.3 % of pairs (leaps 33.3 %, step_jump 33.3 %)",
    ]
    assert flawless.tolist() == [False, False, True]


def test_what_is_real_depends_on_how_much_the_images_differ():
    """A set of low contrast, whose images differ by few levels, is judged like any other."""
    bright = open_images("torus", side=32, stride=4)

    def dimmed(some):
        return np.rint(0.05 * some).astype(np.uint8)

    dark = {"images": dimmed(bright.images), "draw": lambda rows: dimmed(bright.draw(rows))}
    images = dataclasses.replace(bright, **dark)
    made = truth.make_truth(images)
    ends = far_pairs(images, made, 7)
    for name, real in (("true", True), ("fade", False)):
        clauses, _ = truth.faults(made.score(list(cheat(name, images, made, ends)), ends), made)
        assert any("not real" in clause for clause in clauses) == (not real)


# Reading


def test_true_images_are_read_at_their_own_pose_whatever_their_order(arm):
    images, _ = arm
    order = np.random.default_rng(2).permutation(len(images))
    mixed = dataclasses.replace(
        images, images=images.images[order], factors=images.factors[order], recipe=""
    )
    made = truth.make_truth(mixed, rendered=False)
    reading = made.lattice.read(mixed.images)
    expected = np.stack(np.unravel_index(order, (14, 14)), axis=-1)
    np.testing.assert_allclose(reading.poses, expected, atol=1e-9)
    assert not reading.residuals.any()


@pytest.mark.parametrize(
    ("name", "size", "count", "residual"),
    [("arm", "small", 101, 4), ("torus", "small", 101, 4)]
    + [
        pytest.param(name, "whole", 512, 2, marks=pytest.mark.slow)
        for name in ("arm", "loop", "torus", "pole")
    ],
)
def test_random_true_poses_are_read_to_a_twentieth_of_a_grid_step(
    name, size, count, residual, request
):
    images, made = request.getfixturevalue(name) if size == "small" else make(name)
    grid = made.lattice.grid
    span = np.where(grid.around > 0, grid.around, np.array(grid.shape) - 1)
    poses = np.random.default_rng(7).uniform(size=(count, len(span))) * span
    read, residuals = made.lattice.read(images.draw(grid.factors(poses).astype(np.float32)))
    errors = np.linalg.norm(grid.short(read - poses), axis=1)
    assert np.median(errors) <= 0.05
    assert np.percentile(errors, 95) <= 0.25
    assert residuals.mean() < residual
    assert made.reading_error == pytest.approx(np.median(errors), abs=0.03)
    assert f"to {made.reading_error:.2f} grid steps (median" in made.description


def test_images_alone_read_less_well_and_say_so(arm):
    images, made = arm
    alone = truth.make_truth(images, rendered=False)
    assert alone.lattice.per_step == 1
    assert made.reading_error < alone.reading_error < 0.3
    assert "14 x 14 images of robot arm, a grid step apart: random poses" in alone.description
    assert "53 x 53 renders of robot arm, 1/4 of a grid step apart" in made.description
    ends = far_pairs(images, made, 5)
    for name, fault in (("constant", "not right"), ("cut", "not even"), ("true", "")):
        found, _ = truth.faults(scored(name, images, made, ends, by=alone), alone)
        # What lies between images so far apart is like none of them, and is misread.
        found = [each for each in found if name != "true" or "course" in each]
        assert any(each.startswith(fault) for each in found) if fault else not found


def test_without_a_renderer_the_error_is_that_of_images_left_out():
    images = open_images("pole", side=16, stride=2)
    plain = dataclasses.replace(images, draw=None, continuous=(), recipe="not drawn")
    drawn = truth.make_truth(images, rendered=False)
    made = truth.make_truth(plain)
    assert "images left out of every other one" in made.description
    # Every other of 20 x 20 is 10 x 10; 9 x 9 lie between them.
    assert len(made.errors) == 81
    assert drawn.reading_error < made.reading_error < 1
    # What is called usual of true images is so, though no image lies between these.
    assert 0.4 < drawn.usual_residual / made.usual_residual < 1.5


# Closed forms


def ring(number, period):
    """Return images on a circle: 0 to just before 1 turn, of sines that are shifted by pixel."""
    angles = 2 * np.pi * np.arange(number) / number
    shifts = 2 * np.pi * np.arange(33) / 33
    levels = np.round(128 + 120 * np.cos(angles[:, None] + shifts)).astype(np.uint8)
    return ImageSet(
        np.repeat(levels.reshape(number, 1, 33, 1), 3, axis=-1),
        name="ring",
        factors=np.arange(number, dtype=np.float64)[:, None],
        factor_names=("angle",),
        periodic={"angle": period} if period else {},
    )


def jumps(course):
    return np.sum(~course.joined[:-1])


@pytest.mark.core
# Where nobody says that the factor is periodic, the seam is found.
@pytest.mark.parametrize("period", [29.0, None])
def test_geodesics_of_a_circle_go_the_short_way_round(period):
    made = truth.make_truth(ring(29, period))
    poses = np.arange(29.0)[:, None]
    apart = np.abs(poses - poses.T)
    expected = np.minimum(apart, 29 - apart)
    np.testing.assert_allclose(made.metric.distances(poses, poses), expected, rtol=0.02, atol=1e-6)
    between = made.metric.distances(np.array([[0.5]]), np.array([[0.75], [9.0], [28.0]]))
    np.testing.assert_allclose(between, [[0.25, 8.5, 1.5]], rtol=0.03)
    assert made.metric.seam.tolist() == ([] if period else [[0, 28]])
    ends = np.array([[2, 15], [27, 3]])
    assert made.distance(ends).tolist() == [13, 5 if period else 24]
    courses = made.courses(ends)
    stops = [[some.poses[[0, -1], 0].round().tolist() for some in each] for each in courses]
    if period:
        # Straight, geodesic, and 16 steps the other way round; but 24 are too many beside 5.
        assert stops == [[[2, 15], [2, 15], [2, -14]], [[27, 32], [27, 32]]]
    else:
        # Also where the way over the seam is longer, if not by much.
        assert [[jumps(some) for some in each] for each in courses] == [[0, 0, 1]] * 2
        seam = courses[1][2]
        assert seam.poses[~seam.joined, 0].tolist() == [28, 3]
        assert seam.places[-1] == 5  # a step to the border, one over it, three from there


def test_a_frame_at_a_seam_may_be_read_on_either_side():
    images = ring(29, None)
    made = truth.make_truth(images)
    shown = images.images[[27, 28, 0, 28, 0, 1, 2, 3]]
    found = made.score([shown, shown[::-1]], np.array([[27, 3], [3, 27]]))
    # Two of eight frames are a step off.
    assert found["course"] == pytest.approx([0.25] * 2, abs=0.1)
    assert made.off_course(shown, np.array([[27, 3]])).max() < 0.1


def square(size, side=19):
    """Return a white square at every place of a black picture."""
    count = side - size + 1
    images = np.zeros((count, count, side, side, 3), np.uint8)
    for row, column in np.ndindex(count, count):
        images[row, column, row : row + size, column : column + size] = 255
    places = np.stack(np.unravel_index(np.arange(count**2), (count, count)), axis=-1)
    return ImageSet(
        images.reshape(-1, side, side, 3),
        name="square",
        factors=places.astype(np.float64),
        factor_names=("row", "column"),
    )


@pytest.mark.parametrize("size", [3, 7])
def test_a_translated_square_is_as_far_as_it_was_moved(size):
    images = square(size)
    made = truth.make_truth(images)
    # A step uncovers a column of pixels and covers another.
    expected = np.sqrt(2 * size * 255**2 / 19**2)
    assert made.metric.unit == pytest.approx(expected, rel=0.1)
    poses = np.stack(np.unravel_index([0, 5, 28, 99], made.lattice.grid.shape), axis=-1)
    flat = np.linalg.norm(poses[:, None] - poses, axis=-1)
    # A path of the graph is longer than the straight line, by 3 % at most.
    found = made.metric.distances(poses.astype(float), poses.astype(float))
    np.testing.assert_allclose(found, 1.015 * flat, rtol=0.04, atol=1e-6)
    # Far ones differ by little more than near ones here; they are no seam.
    assert len(made.metric.seam) == 0


def test_the_arm_tipped_over_is_near(arm):
    _, made = arm
    ends = np.ravel_multi_index(([6, 9], [13, 0]), (14, 14))[None]  # tilt a, about 12.4 - a
    assert any(map(jumps, made.courses(ends)[0]))
    assert made.metric.distances(np.array([[6.0, 13.0]]), np.array([[6.4, 0.0]]))[0, 0] < 4
    middle = np.ravel_multi_index(([3, 5], [6, 7]), (14, 14))[None]
    assert len(made.courses(middle)[0]) == 4
    # As near over the seam one way round as the other: turned back, or turned on.
    lying = np.ravel_multi_index(([0, 13], [2, 3]), (14, 14))[None]
    over = list(filter(jumps, made.courses(lying)[0]))
    crossed_at = [some.poses[~some.joined][0, 1] for some in over]
    assert sorted(crossed_at) == pytest.approx([0, 13], abs=0.5)
    one, other = (np.diagonal(made.metric.distances(*[some.poses] * 2), 1).sum() for some in over)
    assert one == pytest.approx(other, rel=0.05)


def plain_alignment(costs):
    """Return coverage and precision by dynamic time warping, as a recursion over whole paths."""

    @functools.cache
    def best(i, j):
        if min(i, j) < 0:
            return np.inf, ()
        steps = ((best(i - 1, j - 1), 2), (best(i - 1, j), 1), (best(i, j - 1), 1))
        before = [(total + weight * costs[i, j], path) for (total, path), weight in steps]
        total, path = min(before) if i + j else (2 * costs[0, 0], ())
        return total, (*path, (i, j))

    matched = np.array(best(*np.subtract(costs.shape, 1).tolist())[1])
    values = costs[tuple(matched.T)]
    frame, point = ([np.mean(values[side == k]) for k in np.unique(side)] for side in matched.T)
    return np.mean(point), np.mean(frame)


def test_frames_are_told_how_far_off_course_they_are(torus):
    images, made = torus
    ends = pairs.choose_pairs(len(images), 1, seed=3)
    (true,) = draw(images, made, straight(made, ends))
    (beside,) = draw(images, made, straight(made, ends, aside=1.5))
    assert made.off_course(true, ends).max() < 0.3
    off = made.off_course(beside, ends)
    assert np.abs(off[[1, 5, 9]] - 1.5).max() < 0.3  # every other one is beside its way
    assert off[::2].max() < 0.3


def test_alignment_equals_plain_dynamic_time_warping():
    random = np.random.default_rng(3)
    for frames, points in ((1, 5), (7, 1), (5, 11), (13, 7), (17, 17)):
        costs = random.uniform(size=(frames, points))
        np.testing.assert_allclose(pose_kernels.align(costs), plain_alignment(costs), rtol=1e-12)


# Leaps, large grids, the cache


def test_leaps_count_steps_from_and_to_the_ends(arm):
    images, made = arm
    ends = far_pairs(images, made, 2)
    frames = [np.repeat(images.images[end], (20, 28), axis=0) for end in ends]
    forth = np.arange(FRAMES)
    for order, leaps in ((forth, 1), (forth[::-1], 3), ([-1] * FRAMES, 1)):
        found = made.score([some[order] for some in frames], ends)["leaps"]
        assert found.tolist() == [leaps] * 2
    assert "leaps" not in made.score([some[1:] for some in frames], ends)


def test_where_even_steps_are_large_they_are_no_leaps():
    images = ring(360, 360.0)
    made = truth.make_truth(images)
    ends = np.array([[10, 190], [350, 200], [7, 9]])
    numbers = [np.round(np.linspace(*end, FRAMES)).astype(int) for end in ends]
    # Half way round and more, a step of 8 is two even ones; between near ends it is a leap.
    later = [np.append(some[:20], some[20:] + 8) % 360 for some in numbers]
    even, uneven = ([images.images[some] for some in both] for both in (numbers, later))
    assert made.score(even, ends)["leaps"].tolist() == [0, 0, 0]
    assert made.score(uneven, ends)["leaps"][2] == 2


def test_a_grid_too_large_for_the_metric_has_no_intrinsic_figures(arm, monkeypatch):
    monkeypatch.setattr(image_metric, "MOST_NODES", 195)
    images, _ = arm
    made = truth.make_truth(images)
    ends = far_pairs(images, made, 3)
    scores = made.score(draw(images, made, straight(made, ends)), ends)
    assert not {"course_intrinsic", "leaps"} & set(scores)
    assert scores["course"].max() < 0.3
    said = "no course_intrinsic and no leaps, since 196 images are more than 195"
    assert said in made.description


def test_renders_are_drawn_once_and_that_is_logged(caplog):
    images = open_images("pole", side=8, stride=8)
    calls = []
    drawn = dataclasses.replace(images, draw=lambda rows: calls.append(rows) or images.draw(rows))
    with caplog.at_level(logging.INFO):
        first = truth.make_truth(drawn)
    assert "drawing 17 x 17 renders of pole, once" in caplog.text
    assert len(calls) == 2  # the lattice, and poses that reading is tested on
    again = truth.make_truth(drawn)
    assert len(calls) == 2
    assert again.description == first.description
    np.testing.assert_array_equal(again.lattice.reader.images, first.lattice.reader.images)
    # Other pixels are another lattice, though factors are the same.
    other = dataclasses.replace(drawn, images=255 - images.images)
    truth.make_truth(other)
    assert len(calls) == 4
    # So are other periods: a twelfth step of a quarter leads back to the first value, or nowhere.
    images = open_images("loop", side=8, stride=30)
    open_ended = dataclasses.replace(images, periodic={})
    for some, nodes in ((open_ended, 45), (images, 48), (open_ended, 45)):
        assert len(truth.make_truth(some).lattice.reader.images) == nodes


def test_three_factors_are_read():
    # A square that moves and is more or less bright.
    flat = square(7, side=11)
    levels = np.array([1.0, 0.8, 0.6, 0.4])
    images = np.concatenate([np.round(flat.images * level).astype(np.uint8) for level in levels])
    rows = np.concatenate([np.insert(flat.factors, 1, 10 * k, axis=1) for k in range(4)])
    whole = ImageSet(images, name="lamp", factors=rows, factor_names=("row", "level", "column"))
    made = truth.make_truth(whole)
    assert made.lattice.grid.shape == (5, 4, 5)
    reading = made.lattice.read(images)
    np.testing.assert_allclose(reading.poses, rows / [1, 10, 1], atol=1e-9)
    # Straight, in six orders of the factors, and the geodesic.
    assert len(made.courses(np.array([[0, 99]]))[0]) == 8


# Refusals


def blank(*columns, names=("a", "b", "c", "d"), most=None, **more):
    rows = np.stack([axis.ravel() for axis in np.meshgrid(*columns, indexing="ij")], axis=-1)[:most]
    images = np.zeros((len(rows), 3, 5, 3), np.uint8)
    return ImageSet(images, name="blank", factors=rows, factor_names=names[: len(columns)], **more)


FIVE, ONE = np.arange(5.0), np.zeros(1)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (ImageSet(np.zeros((2, 3, 5, 3), np.uint8), name="bare"), "bare has no factors"),
        (blank(ONE, ONE), "0 factors of blank vary"),
        (blank(FIVE, FIVE, FIVE, FIVE), "4 factors of blank vary"),
        (blank(FIVE, FIVE[:3]), "b of blank is no scale of 4 values or more"),
        (blank(FIVE, FIVE, draw=np.array, continuous=("b",)), "a of blank is no scale of 4"),
        (blank(FIVE, FIVE, names=("a", "object_color")), "object_color of blank is no scale"),
        (blank(FIVE, FIVE, most=24), "the 24 images of blank are not one for each of the 5 x 5"),
    ],
)
def test_sets_without_a_grid_are_refused(images, message):
    with pytest.raises(UserError, match=message):
        truth.make_truth(images)


def test_an_animation_that_stays_where_it_is_has_a_course():
    images = square(3, side=9)
    made = truth.make_truth(images)
    found = made.score([images.images[[11, 11, 11]], images.images[[11, 12]]], np.full((2, 2), 11))
    assert found["course"].tolist() == [0, 0.5]
    assert found["course_length"].tolist() == [0, 0]
    made.courses(np.array([[0, 9]]))
    assert len(made._kept) == 1  # however many pairs are judged


@pytest.mark.parametrize(
    ("rows", "columns", "tested", "said"),
    [
        (7, 4, 12, "; at true column, which is not tested, since 4 values are too few"),
        (4, 4, 0, "how well is not known, since 4 values are too few to leave one out"),
    ],
)
def test_of_four_values_no_reading_error_is_claimed(rows, columns, tested, said):
    whole = square(3, side=9)
    kept = np.flatnonzero((whole.factors < [rows, columns]).all(axis=1))
    images = dataclasses.replace(whole, images=whole.images[kept], factors=whole.factors[kept])
    made = truth.make_truth(images)
    assert said in made.description
    assert len(made.errors) == tested
    assert (made.reading_error is None) == (not tested)
    # Where nobody knows how true images would be read, none is called unreal.
    noise = np.random.default_rng(0).integers(0, 256, (5, 9, 9, 3), np.uint8)
    clauses, _ = truth.faults(made.score([noise], np.array([[0, 5]])), made)
    assert any("not real" in clause for clause in clauses) == bool(tested)
