"""The truth about an animation, where every pose of what it shows is known.

Three questions, in numbers that no cheat wins together:

- *Real?* Each frame is read: `residual` is its mean squared difference (0-255 squared) to the true
  image that it is most like.
- *Right?* A pair has perfect courses: straight in factors, one factor after the other, the geodesic
  of the image metric; also over a seam, or the other way round a periodic factor, where that is
  not much longer. `course` is how far frames and the best of them are apart, in grid steps, and
  `course_intrinsic` the same by the image metric, in ordinary grid steps; `progress` is the share
  of frame steps that go forward along it.
- *Even?* `leaps` counts frame steps that skip poses; beside it stand the steps of
  `metrics.smoothness`.

`faults` looks at all of them, as no single one is safe: images of the set in any order are real,
a fade from one image to the other is even, and a cut or a slide show is right for all but a moment.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Real, UInt8

from jaxsurf.errors import UserError
from jaxsurf.evaluation import image_metric, lattice
from jaxsurf.evaluation.image_metric import ImageMetric
from jaxsurf.evaluation.lattice import Lattice, Poses, Reading
from jaxsurf.evaluation.pairs import PerPair, Scores
from jaxsurf.frames.decode import Frames
from jaxsurf.images.image_set import ImageSet

# A leap skips poses that could have been shown, which depends on the number of frames. On 40 x 40
# poses even steps of so many frames are 0.9 at most. Where even ones are larger, as half way round
# 360 poses (3.8), a leap is more than two of them.
LEAP_FRAMES, LEAP, LEAP_STEPS = 48, 3.0, 2.0
# As many points as frames, evenly: coverage and precision are means over about as many.
COURSE_POINTS = 48
# What else is right beside the short way.
LONGEST_DETOUR = 1.5
# Poses that the reading is tested on.
NUM_TESTED = 256
# Grid steps that are no rounding.
FORWARD = 1e-6


# What gives an animation away, of one pair or in the mean over many; figures are those on the arm,
# true motion being drawn evenly in factors.
# 5 of 255 levels, as of a picture of 34 dB: true motion 0.5, good models 6 to 12, a fade 49.
MOST_RESIDUAL, MOST_RESIDUAL_WORST = 25.0, 100.0  # of the worst frame: 10 levels
# A share of the course's length, and no less than a grid step: true motion is off by 0.1 steps, a
# cut or a fade by a quarter of the length, what stands still by a half.
MOST_COURSE, MOST_COURSE_SHARE = 1.0, 0.15
# Half of the frames stand still or go back: true motion 0.99, random images 0.45.
LEAST_PROGRESS = 0.5
# Leaps in every other path.
MOST_LEAPS = 0.5
# True motion 1.8 and 0.44 at most; a slide show of true images 3.8 and 1.2 in the mean.
MOST_JUMP, MOST_UNEVENNESS = 2.5, 0.6

Animations = Sequence[UInt8[np.ndarray, "_frame height width channel"]]


class Course(NamedTuple):
    """A perfect course: poses from source to target.

    `places` are their distances from the source along the course, in grid steps; `joined` says
    whether a straight line leads from a pose to the next one.
    """

    name: str
    poses: Poses
    places: Float[np.ndarray, "pose"]
    joined: Bool[np.ndarray, "pose"]


@dataclass(frozen=True, eq=False)
class Truth:
    """What is known about an image set whose factors form a grid.

    Attributes:
        lattice: the true images that frames are read by.
        metric: lengths by image differences; None where the grid is too large for them.
        reading_errors: distances of read poses from true ones, in grid steps, of a test.
        description: how frames are read and how well, in a sentence or two.
    """

    lattice: Lattice
    metric: ImageMetric | None
    reading_errors: Float[np.ndarray, "pose"]
    description: str
    _kept: dict[bytes, list[list[Course]]] = field(init=False, default_factory=dict, repr=False)

    @property
    def reading_error(self) -> float:
        """The median error of reading a true pose, in grid steps."""
        return float(np.median(self.reading_errors))

    def read(self, frames: Frames) -> Reading:
        """Return the pose of each frame, one column a factor that varies, and its residual."""
        expected = self.lattice.image_shape
        if frames.shape[1:] != expected:
            raise UserError(f"frames of shape {frames.shape[1:]} are no images of {expected}")
        return self.lattice.read(frames)

    def distance(
        self, first: Real[np.ndarray, "... column"], second: Real[np.ndarray, "... column"]
    ) -> Float[np.ndarray, "..."]:
        """Return the distance of rows of factors, in grid steps, periodic ones the short way.

        Rows hold all factors of the set, as its own do; one may stand for many.
        """
        grid = self.lattice.grid
        return np.linalg.norm(grid.short(grid.poses(second) - grid.poses(first)), axis=-1)

    def score(self, frames: Animations, ends: Int[np.ndarray, "pair 2"]) -> Scores:
        """Return how real and how right the animations of some pairs are, one value a pair.

        These are `residual` and `residual_worst` (of a pair's worst frame), `course`,
        `course_intrinsic`, which is missing where there is no image metric, `course_length`, in
        grid steps, of the course that is followed best, `progress`, and of animations of
        `LEAP_FRAMES` frames also `leaps`, as below.

        Args:
            frames: of each pair, two at least.
            ends: source and target of each pair, by image number.
        """
        from jaxsurf.evaluation import pose_kernels

        if min(map(len, frames)) < 2:
            raise UserError("an animation of a single frame has no course")
        around, rows = self.lattice.grid.around, []
        counted = self.metric is not None and {len(some) for some in frames} == {LEAP_FRAMES}
        every = zip(self._read_each(frames), self._end_poses(ends), self.courses(ends), strict=True)
        for (poses, residuals), both, courses in every:
            errors = [
                max(pose_kernels.align(pose_kernels.step_distances(poses, some.poses, around)))
                for some in courses
            ]
            best = courses[int(np.argmin(errors))]
            places = pose_kernels.project(poses, *best[1:], around)
            row = {
                "residual": residuals.mean(),
                "residual_worst": residuals.max(),
                "course": min(errors),
                "course_length": best.places[-1],
            }
            if self.metric is not None:
                costs = [self.metric.distances(poses, some.poses) for some in courses]
                row["course_intrinsic"] = min(max(pose_kernels.align(cost)) for cost in costs)
            if counted:
                row["leaps"] = self._num_leaps(poses, both, courses)
            rows.append({**row, "progress": np.mean(np.diff(places) > FORWARD)})
        return {name: np.array([row[name] for row in rows]) for name in rows[0]}

    def leaps(self, frames: Animations, ends: Int[np.ndarray, "pair 2"]) -> PerPair | None:
        """Return how many steps of each pair's animation are leaps, those from and to its ends too.

        A leap is a step of more than `LEAP` by the image metric, and of more than `LEAP_STEPS` even
        steps of the pair's longest course. None where there is no image metric.
        """
        if {len(some) for some in frames} != {LEAP_FRAMES}:
            raise UserError(f"leaps are counted at {LEAP_FRAMES} frames a pair")
        if self.metric is None:
            return None
        every = zip(self._read_each(frames), self._end_poses(ends), self.courses(ends), strict=True)
        return np.array([self._num_leaps(poses, both, some) for (poses, _), both, some in every])

    def _num_leaps(
        self, poses: Poses, ends: Float[np.ndarray, "2 factor"], courses: Sequence[Course]
    ) -> float:
        assert self.metric is not None
        walk = np.concatenate([ends[:1], poses, ends[1:]])
        steps = np.diagonal(self.metric.distances(walk, walk), 1)
        longest = max(self.metric.length(course.poses) for course in courses)
        return float(np.sum(steps > max(LEAP, LEAP_STEPS * longest / (LEAP_FRAMES - 1))))

    def courses(self, ends: Int[np.ndarray, "pair 2"]) -> list[list[Course]]:
        """Return the perfect courses of each pair, the straight one in factors first.

        Those of the last ends are kept: methods are compared on the same pairs.
        """
        if ends.tobytes() not in self._kept:
            self._kept.clear()
            self._kept[ends.tobytes()] = self._make_courses(ends)
        return self._kept[ends.tobytes()]

    def _make_courses(self, ends: Int[np.ndarray, "pair 2"]) -> list[list[Course]]:
        always = [[] for _ in ends]
        detours = [[] for _ in ends]
        for number, (source, target) in enumerate(self._end_poses(ends)):
            short = self.lattice.grid.short(target - source)
            # The other way round is a whole turn less; not where a factor is the same at both ends.
            long = short - np.sign(short) * self.lattice.grid.around
            for ways in itertools.product((False, True), repeat=len(short)):
                if not any(ways):
                    always[number] += _in_factors(source, short, "")
                elif np.all(np.where(ways, long != short, True)):
                    moved = np.where(ways, long, short)
                    detours[number] += _in_factors(source, moved, ", the other way round")
        if self.metric is not None:
            nodes = self.lattice.grid.nodes[ends]
            for found, name, over_seam in (
                (always, "geodesic", False),
                (detours, "geodesic over the seam", True),
            ):
                if over_seam and not len(self.metric.seam):
                    continue
                paths = self.metric.geodesics(nodes, over_seam=over_seam)
                for some, (poses, joined) in zip(found, paths, strict=True):
                    # What never crosses the seam is the geodesic again.
                    if not over_seam or not joined[:-1].all():
                        some.append(_sampled(name, poses, joined))
        return [
            self._worth_going(some, others) for some, others in zip(always, detours, strict=True)
        ]

    def _worth_going(self, always: list[Course], detours: list[Course]) -> list[Course]:
        if not detours:
            return always
        lengths = [
            float(course.places[-1]) if self.metric is None else self.metric.length(course.poses)
            for course in (*always, *detours)
        ]
        limit = LONGEST_DETOUR * min(lengths)
        kept = zip(detours, lengths[len(always) :], strict=True)
        return always + [course for course, length in kept if length <= limit]

    def _end_poses(self, ends: Int[np.ndarray, "pair 2"]) -> Float[np.ndarray, "pair 2 factor"]:
        grid = self.lattice.grid
        return np.stack(np.unravel_index(grid.nodes[ends], grid.shape), axis=-1).astype(float)

    def _read_each(self, frames: Animations) -> list[Reading]:
        poses, residuals = self.read(np.concatenate(frames))
        cuts = np.cumsum([len(some) for some in frames])[:-1]
        return list(map(Reading, np.split(poses, cuts), np.split(residuals, cuts)))


def make_truth(
    images: ImageSet, *, rendered: bool = True, cache_dir: str | Path | None = None
) -> Truth:
    """Return the truth about an image set whose factors that vary form a grid.

    Args:
        images: one for each combination of one to three ordered factors.
        rendered: whether to read by renders between the images, where they can be drawn. They are
            drawn once and kept in the cache, which takes minutes; the images alone read less well.
        cache_dir: where to keep what is made; None means the user's cache.

    Raises:
        UserError: the factors form no such grid.
    """
    made = lattice.make_lattice(images, rendered=rendered, cache_dir=cache_dir)
    metric = None
    if len(images) <= image_metric.MOST_NODES:
        metric = ImageMetric(made, cache_dir=cache_dir)
    test = "test" if images.draw is not None else "test-of-images"
    kept = lattice.keep(test, made.stamp, lambda: {"errors": _test(images, made)}, cache_dir)
    errors = kept["errors"]
    shape = " x ".join(map(str, made.reader.shape))
    apart = "a grid step" if made.per_step == 1 else f"1/{made.per_step} of a grid step"
    tested = "random poses" if images.draw is not None else "images left out of every other one"
    description = (
        f"poses are read by {shape} {'images' if made.per_step == 1 else 'renders'} of "
        f"{images.name}, {apart} apart: {tested} to {np.median(errors):.2f} grid steps "
        f"(median; 95 % to {np.percentile(errors, 95):.2f})"
    )
    if metric is None:
        most = f"{len(images):,} images are more than {image_metric.MOST_NODES:,}"
        description += f"; no course_intrinsic and no leaps, since {most}"
    return Truth(made, metric, errors, description)


def _test(images: ImageSet, of: Lattice) -> Float[np.ndarray, "pose"]:
    """Return errors of reading, in grid steps: of random poses, or of images that are left out."""
    random, grid = np.random.default_rng(0), of.grid
    if images.draw is not None:
        span = np.where(grid.around > 0, grid.around, np.array(grid.shape) - 1)
        poses = random.uniform(size=(NUM_TESTED, len(span))) * span
        read = of.read(images.draw(grid.factors(poses).astype(np.float32))).poses
        return np.linalg.norm(grid.short(read - poses), axis=1)
    return lattice.held_out_errors(of.reader, NUM_TESTED)


def _in_factors(
    source: Float[np.ndarray, "factor"], moved: Float[np.ndarray, "factor"], which: str
) -> list[Course]:
    """Return the courses that are straight in factors, and that move one factor after the other."""
    moving = np.flatnonzero(moved)
    corners = {"straight": [source, source + moved]}
    # A single one that moves goes straight in any case.
    for order in itertools.permutations(moving.tolist()) if len(moving) > 1 else ():
        walk = [source]
        for axis in order:
            walk.append(walk[-1] + np.eye(len(moved))[axis] * moved)
        corners[f"factors in order {order}"] = walk
    return [
        _sampled(name + which, np.array(walk), np.arange(len(walk)) < len(walk) - 1)
        for name, walk in corners.items()
    ]


def _sampled(name: str, poses: Poses, joined: Bool[np.ndarray, "pose"]) -> Course:
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
    return Course(name, *map(np.concatenate, (points, places, links)))


def faults(scores: Mapping[str, float]) -> list[str]:
    """Return what gives an animation away: that it is not real, not right or not even.

    Args:
        scores: of one pair or in the mean over pairs, those of `Truth.score`, `Truth.leaps` and
            `pairs.score`; what is missing is not looked at.
    """
    off = max(MOST_COURSE, MOST_COURSE_SHARE * scores.get("course_length", 0.0))
    limits = {
        "residual": ("real", MOST_RESIDUAL),
        "residual_worst": ("real", MOST_RESIDUAL_WORST),
        "course": ("right", off),
        "leaps": ("even", MOST_LEAPS),
        "step_jump": ("even", MOST_JUMP),
        "step_unevenness": ("even", MOST_UNEVENNESS),
    }
    found = [
        f"not {what}: {name} {scores[name]:.3g}"
        for name, (what, most) in limits.items()
        if scores.get(name, 0.0) > most
    ]
    if scores.get("progress", 1.0) < LEAST_PROGRESS:
        found.append(f"not right: progress {scores['progress']:.2f}")
    return found
