"""The truth about an animation, where every pose of what it shows is known.

Three questions, in numbers that no cheat wins together:

- *Real?* Each frame is read: `residual` is its mean squared difference (0-255 squared) to the true
  image that it is most like.
- *Right?* A pair has perfect courses: straight in factors, one factor after the other, the geodesic
  of the image metric; also over a seam, either way, or the other way round a periodic factor, where
  that is not much longer. `course` is the distance of the frames to the nearest of them, in grid
  steps, of which a seam is one, and `course_intrinsic` the same by the image metric, in ordinary
  grid steps; `progress` is the share of frame steps that go forward along it, `walked` the length
  of the path through all poses over its length, and `missed` how far the first and the last frame
  are from the ends.
- *Even?* `leaps` counts frame steps that skip poses; beside it stand the steps of
  `metrics.smoothness`.

`faults` looks at all of them, as no single one is safe: images of the set in any order are real,
a fade from one image to the other is even, a cut or a slide show is right for all but a moment, and
what trembles, or shows the middle of the way only, is never far from it.
"""

import itertools
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxsurf.evaluation import image_metric, lattice
from jaxsurf.evaluation.image_metric import ImageMetric
from jaxsurf.evaluation.intervals import TINY, Animations
from jaxsurf.evaluation.lattice import Apart, Ends, Lattice, Others, Pose, Poses
from jaxsurf.evaluation.pairs import Scores
from jaxsurf.frames.decode import Frames
from jaxsurf.images import pixels
from jaxsurf.images.image_set import FEWEST_LEFT, ImageSet

# A leap is a step of more than `LEAP` ordinary grid steps: it skips poses that could be shown in so
# many frames. On 40 x 40 poses even steps of `LEAP_FRAMES` frames are 0.9 at most. Where even steps
# are larger, as half way round 360 poses (3.8), a leap is more than `LEAP_STEPS` of them.
LEAP_FRAMES, LEAP, LEAP_STEPS = 48, 3.0, 2.0
# About as many points as frames, evenly apart: coverage is a mean over points, precision one over
# frames.
COURSE_POINTS = 48
# A course over a seam, or the other way round, counts as perfect up to so many times the length of
# the shortest other one.
LONGEST_DETOUR = 1.5
# Poses that the reading is tested on. Images that are left out are read by others twice as far
# apart: by all images, random poses have 0.13 to 0.21 of their residual and 0.19 to 0.27 of their
# error on four sources at 64 pixels.
NUM_TESTED, READ_BY_ALL = 256, 0.2
# Shorter moves, in ordinary grid steps, do not count as walked: errors of reading are as long.
STIRRING = 0.5

# What gives away the animation of a pair. Each limit lies between true motion, even in factors, and
# cheats, of 60 pairs on each of four sources, read by renders and by images alone.
# Residuals beyond those of true images, mean and worst frame, as shares of the variance of the
# images: on the arm true motion has at most 0.05 and 0.02, most pairs of trained models 0.03 and
# 0.12, of cross-dissolves 0.14 and 0.42.
MOST_RESIDUAL, MOST_RESIDUAL_WORST = 0.05, 0.25
# A share of the course's length, and no less than a grid step: true motion is off by 0.1 steps, a
# cut or a cross-dissolve by a quarter of the length, a constant frame by a half.
MOST_COURSE, MOST_COURSE_SHARE = 1.0, 0.15
# True motion at most 1.21, eight frames forward and two back 1.5.
MOST_WALKED = 1.35
# Ordinary grid steps: true motion 0, models trained on four drawn sources at most 0.5 (of 25 epochs
# only, over 1 on a third of pairs), the middle four fifths of a course 1.4 to 10 on most pairs.
MOST_MISSED = 1.0
# True motion 1.8 and 0.44 at most; a slide show of true images 3.8 and 1.2 in the mean.
MOST_JUMP, MOST_UNEVENNESS = 2.5, 0.6


class Course(NamedTuple):
    """A perfect course: poses from source to target.

    `places` are their distances from the source along the course, in grid steps; `joined` says
    whether a straight line leads from a pose to the next one.
    """

    poses: Poses
    places: Float[np.ndarray, "pose"]
    joined: Bool[np.ndarray, "pose"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about an image set whose factors form a grid.

    `errors` and `residuals` are those of true images that were read to test it: how far from their
    poses, in grid steps; of no image where none can be drawn or left out.
    """

    lattice: Lattice  # the true images that frames are read by
    metric: ImageMetric | None  # None where the grid is too large for it
    errors: Float[np.ndarray, "image"]
    residuals: Float[np.ndarray, "image"]
    variance: float  # of the images, on 0-255 squared
    description: str  # how frames are read and how well, in a sentence or two
    # The courses of the ends that were asked for last: methods are compared on the same pairs.
    _kept: dict[bytes, list[list[Course]]] = field(init=False, default_factory=dict, repr=False)

    @property
    def reading_error(self) -> float | None:
        """The median error of reading a true pose, in grid steps; None where it is not known."""
        return float(np.median(self.errors)) if len(self.errors) else None

    @property
    def usual_residual(self) -> float | None:
        """The mean residual of true poses; None where it is not known."""
        return float(self.residuals.mean()) if len(self.errors) else None

    def distance(self, ends: Ends) -> Float[np.ndarray, "pair"]:
        """Return how far apart the images of each pair are, in grid steps of their factors."""
        grid = self.lattice.grid
        return np.linalg.norm(grid.short(np.diff(grid.image_poses(ends), axis=1)[:, 0]), axis=-1)

    def score(self, frames: Animations, ends: Ends) -> Scores:
        """Return how real and how right the animations of some pairs are, one value a pair.

        The module says what they are; `residual_worst` is of a pair's worst frame, and
        `course_length`, in grid steps, of the course that is followed best. Its length, or an
        ordinary grid step if that is longer, is what `walked` is measured by, from source to target
        without poses within `STIRRING` of the last one that counted. `missed` is at the source or
        at the target, whichever is more. `leaps`, of animations of `LEAP_FRAMES` frames, are the
        steps, those from and to the ends too, of more than `LEAP` and of more than `LEAP_STEPS`
        even steps of the pair's longest course. Without an image metric there are no `leaps` and no
        `course_intrinsic`, and `walked` and `missed` are measured in grid steps.
        """
        from jaxsurf.evaluation import pose_kernels

        rows = []
        counted = self.metric is not None and {len(some) for some in frames} == {LEAP_FRAMES}
        cuts = np.cumsum([len(some) for some in frames])[:-1]
        read = [np.split(values, cuts) for values in self.lattice.read(np.concatenate(frames))]
        every = zip(*read, self.lattice.grid.image_poses(ends), self.courses(ends), strict=True)
        for poses, residuals, both, courses in every:
            errors = [max(pose_kernels.align(self._steps(poses, c.poses))) for c in courses]
            best = courses[int(np.argmin(errors))]
            walk = self._apart(*[np.concatenate([both[:1], poses, both[1:]])] * 2)
            row = {
                "residual": residuals.mean(),
                "residual_worst": residuals.max(),
                "course": min(errors),
                "course_length": best.places[-1],
                "progress": np.mean(np.diff(self._places(poses, best)) > TINY),
                "walked": _walked(walk) / max(1.0, self._length(best)),
                "missed": max(walk[0, 1], walk[-2, -1]),
            }
            if self.metric is not None:
                costs = [self.metric.distances(poses, some.poses) for some in courses]
                row["course_intrinsic"] = min(max(pose_kernels.align(cost)) for cost in costs)
            if counted:
                even = max(map(self._length, courses)) / (LEAP_FRAMES - 1)
                row["leaps"] = np.sum(np.diagonal(walk, 1) > max(LEAP, LEAP_STEPS * even))
            rows.append(row)
        return {name: np.array([row[name] for row in rows], float) for name in rows[0]}

    def off_course(self, frames: Frames, ends: Ends) -> Float[np.ndarray, "frame"]:
        """Return how far each frame of a pair is from the perfect course that they follow best."""
        poses = self.lattice.read(frames).poses
        apart = [self._steps(poses, course.poses).min(axis=1) for course in self.courses(ends)[0]]
        return min(apart, key=np.max)

    def _steps(self, first: Poses, second: Others) -> Apart:
        """Return the distance of each pose to each of others, in grid steps, or over the seam.

        Across the seam is a step: where a path crosses it, frames may be read on either side.
        """
        apart = self.lattice.grid.apart(first, second)
        if self.metric is None or not len(self.metric.seam):
            return apart
        return np.minimum(apart, self.metric.steps_over_seam(first, second))

    def _apart(self, first: Poses, second: Others) -> Apart:
        """Return the distance of each pose to each of others, by the image metric where it is."""
        if self.metric is None:
            return self._steps(first, second)
        return self.metric.distances(first, second)

    def _length(self, course: Course) -> float:
        """Return the length of a course, by the image metric where it is."""
        return float(np.diagonal(self._apart(course.poses, course.poses), 1).sum())

    def _places(self, poses: Poses, course: Course) -> Float[np.ndarray, "pose"]:
        """Return where along a course, in its `places`, the point nearest to each pose lies."""
        off = self.lattice.grid.short(poses[:, None] - course.poses)
        step = np.diff(course.poses, axis=0, append=course.poses[-1:]) * course.joined[:, None]
        squared = np.square(step).sum(axis=-1)
        share = np.clip((off * step).sum(axis=-1) / np.where(squared, squared, 1), 0, 1)
        nearest = np.square(off - share[..., None] * step).sum(axis=-1).argmin(axis=1)
        share = share[np.arange(len(poses)), nearest]
        following = course.places[np.minimum(nearest + 1, len(course.places) - 1)]
        return (1 - share) * course.places[nearest] + share * following

    def courses(self, ends: Ends) -> list[list[Course]]:
        """Return the perfect courses of each pair, the straight one in factors first."""
        made = self._kept.get(ends.tobytes())
        if made is None:  # other threads may ask for other ends meanwhile
            made = self._make_courses(ends)
            self._kept.clear()
            self._kept[ends.tobytes()] = made
        return made

    def _make_courses(self, ends: Ends) -> list[list[Course]]:
        grid, found, geodesics = self.lattice.grid, [], ([[] for _ in ends],) * 2
        if self.metric is not None:
            nodes = grid.nodes[ends]
            geodesics = [self.metric.geodesics(nodes, over_seam=over) for over in (False, True)]
        for (source, target), inside, over in zip(grid.image_poses(ends), *geodesics, strict=True):
            short = grid.short(target - source)
            some, detours = _in_factors(source, short) + [_sampled(*way) for way in inside], []
            # The other way round is a whole turn less; not where a factor is the same at both ends.
            long = short - np.sign(short) * grid.around
            for ways in itertools.product((False, True), repeat=len(short)):
                if any(ways) and np.all(np.where(ways, long != short, True)):
                    detours += _in_factors(source, np.where(ways, long, short))
            detours += [_sampled(*way) for way in over]
            limit = LONGEST_DETOUR * min(map(self._length, some))
            found.append(some + [each for each in detours if self._length(each) <= limit])
        return found


def make_truth(images: ImageSet, *, rendered: bool = True) -> Truth:
    """Return the truth about a set of an image for each combination of one to three factors.

    `rendered` is whether to read by renders between the images, where they can be drawn. They are
    drawn once and kept in the cache, which takes minutes; the images alone read less well.

    Raises:
        UserError: the factors form no such grid, or have no order.
    """
    made = lattice.make_lattice(images, rendered=rendered)
    metric = ImageMetric(made) if len(images) <= image_metric.MOST_NODES else None
    # A test by drawn poses is kept apart from one by images that are left out.
    stamp = f"{made.stamp} {'left out' if images.draw is None else 'drawn'}"
    kept = lattice.keep("reading", stamp, lambda: _test(images, made))
    errors, shape = kept["errors"], " x ".join(map(str, made.reader.shape))
    apart = "a grid step" if made.per_step == 1 else f"1/{made.per_step} of a grid step"
    description = (
        f"poses are read by {shape} {'images' if made.per_step == 1 else 'renders'} of "
        f"{images.name}, {apart} apart: {_how_well(images, made, errors)}"
    )
    if metric is None:
        most = f"{len(images):,} images are more than {image_metric.MOST_NODES:,}"
        description += f"; no course_intrinsic and no leaps, since {most}"
    variance = pixels.variance(images.images) * pixels.PEAK**2
    return Truth(made, metric, errors, kept["residuals"], variance, description)


def _test(images: ImageSet, of: Lattice) -> dict[str, np.ndarray]:
    """Read true images: of random poses, or some that are left out of the lattice."""
    random, grid = np.random.default_rng(0), of.grid
    if images.draw is None:
        errors, residuals = lattice.read_held_out(of.reader, NUM_TESTED)
        residuals = READ_BY_ALL * residuals
    else:
        span = np.where(grid.around > 0, grid.around, np.array(grid.shape) - 1)
        poses = random.uniform(size=(NUM_TESTED, len(span))) * span
        read, residuals = of.read(images.draw(grid.factors(poses).astype(np.float32)))
        errors = np.linalg.norm(grid.short(read - poses), axis=1)
    return {"errors": errors, "residuals": residuals}


def _how_well(images: ImageSet, of: Lattice, errors: Float[np.ndarray, "image"]) -> str:
    unknown = f"since {FEWEST_LEFT} values are too few to leave one out"
    if not len(errors):
        return f"how well is not known, {unknown}, and so not what is real"
    median, most = np.median(errors), np.percentile(errors, 95)
    how_far = f"{median:.2f} grid steps (median; 95 % to {most:.2f})"
    if images.draw is not None:
        return f"random poses to {how_far}"
    few = ", ".join(axis.name for axis in of.grid.axes if len(axis.values) <= FEWEST_LEFT)
    untested = f"; at true {few}, which is not tested, {unknown}" if few else ""
    left_out = f"images left out of every other one to {how_far}"
    return f"{left_out}, by all images about a fifth of that{untested}"


def _in_factors(source: Pose, moved: Pose) -> list[Course]:
    """Return the courses that are straight in factors, and that move one factor after the other."""
    moving = np.flatnonzero(moved).tolist()
    walks = [np.array([source, source + moved])]
    # Where a single factor moves, the straight course is the only one.
    for order in itertools.permutations(moving) if len(moving) > 1 else ():
        steps = [source, *(np.eye(len(moved))[axis] * moved for axis in order)]
        walks.append(np.cumsum(steps, axis=0))
    return [_sampled(walk, np.arange(len(walk)) < len(walk) - 1) for walk in walks]


def _sampled(poses: Poses, joined: Bool[np.ndarray, "pose"]) -> Course:
    """Return a course through about `COURSE_POINTS` poses, evenly apart between its jumps."""
    lengths = np.linalg.norm(np.diff(poses, axis=0), axis=1)
    whole = lengths[joined[:-1]].sum()
    points, places, links, behind = [], [], [], 0.0
    for part in np.split(np.arange(len(poses)), np.flatnonzero(~joined[:-1]) + 1):
        along = np.append(0.0, np.cumsum(lengths[part[:-1]]))
        count = max(2, round(COURSE_POINTS * along[-1] / whole)) if along[-1] else 1
        at = np.linspace(0, along[-1], count)
        points.append(np.stack([np.interp(at, along, column) for column in poses[part].T], axis=1))
        # A jump is a step forward too.
        places.append(behind + at)
        behind += along[-1] + 1.0
        links.append(np.arange(count) < count - 1)
    return Course(*map(np.concatenate, (points, places, links)))


def _walked(apart: Apart) -> float:
    """Return the length of a path through poses, by their distances from one another."""
    total, last = 0.0, 0
    for pose in range(1, len(apart)):
        if apart[last, pose] > STIRRING or pose == len(apart) - 1:
            total, last = total + apart[last, pose], pose
    return total


def faults(scores: Scores, truth: Truth | None) -> tuple[list[str], Bool[np.ndarray, "pair"]]:
    """Return what gives animations away, and which pairs have no fault.

    Each pair is judged by itself, since a mean hides what is wrong on few of them, by the scores of
    `Truth.score` and `pairs.score`; what is missing is not looked at. There is a clause for each of
    real, right and even that some pair is not, with the share of such pairs; where the truth is
    known, the share without any fault stands before them.
    """
    lengths = scores.get("course_length", np.zeros(1))
    most_course = np.maximum(MOST_COURSE, MOST_COURSE_SHARE * lengths)
    limits = {
        "not real": {},
        "not right": {"course": most_course, "missed": MOST_MISSED, "walked": MOST_WALKED},
        "not even": {"leaps": 0, "step_jump": MOST_JUMP, "step_unevenness": MOST_UNEVENNESS},
    }
    if truth is not None and len(truth.residuals):
        usual, worst = truth.residuals.mean(), truth.residuals.max()
        limits["not real"] = {
            "residual": usual + MOST_RESIDUAL * truth.variance,
            "residual_worst": worst + MOST_RESIDUAL_WORST * truth.variance,
        }
    clauses, flawless = [], np.ones(len(next(iter(scores.values()))), bool)
    for what, of_each in limits.items():
        past = {name: scores[name] > most for name, most in of_each.items() if name in scores}
        past = {name: some for name, some in past.items() if some.any()}
        if past:
            some = np.any(list(past.values()), axis=0)
            each = ", ".join(f"{name} {_percent(past[name])}" for name in past)
            clauses.append(f"{what} on {_percent(some)} of pairs ({each})")
            flawless &= ~some
    if clauses and truth is not None:
        clauses.insert(0, f"without fault on {_percent(flawless)} of pairs")
    return clauses, flawless


def _percent(some: Bool[np.ndarray, "pair"]) -> str:
    return f"{100 * some.mean():.3g} %"
