"""Target codes: laid out as the geometry says, and refused where that can't be done."""

import functools

import numpy as np
import pytest
from scipy.spatial import procrustes
from scipy.spatial.distance import pdist, squareform
from sklearn.datasets import make_swiss_roll
from sklearn.manifold import Isomap

from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.sources import open_images
from jaxsurf.manifold import targets
from jaxsurf.manifold.targets import TargetsConfig

LINE = np.linspace(-1, 1, 32)
ACROSS, DOWN = np.meshgrid(LINE, LINE)


def painted(*discs):
    """Return a picture of soft discs, each (x, y, radius, color), over grey."""
    picture = np.full((32, 32, 3), 0.5)
    for x, y, radius, color in discs:
        inside = 1 / (1 + np.exp((np.hypot(ACROSS - x, DOWN - y) - radius) / 0.05))
        picture += inside[..., None] * (np.asarray(color) - picture)
    return np.round(255 * picture.clip(0, 1)).astype(np.uint8)


@functools.cache
def faces(number=150, seed=0):
    """A head that turns, rigidly, and opens its mouth."""
    chosen = np.random.default_rng(seed).uniform(-1, 1, (number, 2))
    images = [
        painted(
            (0.3 * turn, 0, 0.7, (0.9, 0.7, 0.5)),
            (0.5 * turn - 0.25, -0.2, 0.1, (0, 0, 0)),
            (0.5 * turn + 0.25, -0.2, 0.1, (0, 0, 0)),
            (0.5 * turn, 0.35, 0.25 + 0.2 * opened, (0.5, 0, 0)),
        )
        for turn, opened in chosen
    ]
    return np.stack(images), chosen


def noise(number, seed=0):
    """Pictures with the spectrum of photographs that have nothing in common."""
    rates = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    rates[0, 0] = 1 / 32
    white = np.random.default_rng(seed).normal(size=(number, 3, 32, 32))
    pink = np.fft.ifft2(np.fft.fft2(white) / rates).real.transpose(0, 2, 3, 1)
    return np.round(255 * (0.5 + 0.2 * pink / pink.std()).clip(0, 1)).astype(np.uint8)


def drawn(source, **options):
    return open_images(source, side=32, **options).images


def shown_by(codes, chosen):
    """Return how much of the variance of what was chosen is linear in the codes."""
    known = np.column_stack([codes, np.ones(len(codes))])
    left = chosen - known @ np.linalg.lstsq(known, chosen)[0]
    return 1 - left.var() / chosen.var()


def choose(images, dimensions=2, kind="auto"):
    return targets.choose(ImageSet(images, "drawn"), dimensions, TargetsConfig(kind=kind))


@functools.cache
def targets_of_faces():
    return choose(faces()[0])


def test_a_rolled_up_sheet_is_laid_out_flat_and_better_than_by_isomap():
    points, turns = make_swiss_roll(1500, random_state=3)
    # The length of the spiral r = t up to t, and the width.
    along = (turns * np.sqrt(1 + turns**2) + np.arcsinh(turns)) / 2
    flat = np.stack([along, points[:, 1]], axis=1)
    codes = targets.lay_out(targets.geodesics(points), 2)
    reference = Isomap(n_neighbors=targets.NEIGHBOURS).fit_transform(points)
    mine, theirs = (procrustes(flat, found)[2] for found in (codes, reference))
    assert mine < 0.5 * theirs
    assert mine < 3e-4
    np.testing.assert_allclose(codes.mean(axis=0), 0, atol=1e-5)
    assert np.sqrt(np.mean(np.square(codes))) == pytest.approx(targets.SPREAD, rel=1e-5)


def fan():
    """Fifteen rays, whose points are far nearer to those beside them at one end."""
    radii, angles = map(np.ravel, np.mgrid[0.1:15:20j, 0:1.4:15j])
    points = np.stack([radii * np.cos(angles), radii * np.sin(angles), radii], axis=1)
    return points + np.random.default_rng(4).normal(scale=1e-3, size=points.shape)


TURN = np.random.default_rng(1).uniform(0.3, 2 * np.pi - 0.3, (300, 1))


# There is a relative neighbour to add in the fan, and one across the horseshoe that is too far.
@pytest.mark.parametrize(
    ("points", "far"), [(fan(), False), (np.hstack([np.cos(TURN), np.sin(TURN)]), True)]
)
def test_relative_neighbours_have_no_third_point_between_and_are_not_far(points, far):
    apart, each = squareform(pdist(points)), np.arange(len(points))
    between = np.maximum(apart[:, :, None], apart[None])  # by a third point, the second index
    between[each, each] = between[:, each, each] = np.inf
    nearest = np.sort(apart, axis=1)[:, targets.NEIGHBOURS]
    near = apart <= np.maximum(nearest[:, None], nearest) * (1 + 1e-9)
    within = apart <= targets.FARTHER * np.median(nearest)
    further = (between.min(axis=1) >= apart) & ~near
    assert (further & (within ^ far)).any()
    found = targets.geodesics(points, relative=True)
    expected = np.argwhere(np.triu(near | (further & within), 1))
    assert set(map(tuple, found.edges)) == set(map(tuple, expected))
    np.testing.assert_allclose(found.apart, apart[tuple(found.edges.T)])


@pytest.mark.parametrize("relative", [True, False])
def test_relative_neighbours_count_where_the_layout_has_no_fault(relative, monkeypatch):
    points = fan()
    monkeypatch.setattr(targets, "ITERATIONS", 9)
    monkeypatch.setattr(targets, "blurred", lambda images: points)
    faults = [0.01, 0.01 if relative else 0.02]  # without them, and with them
    monkeypatch.setattr(targets, "residual", lambda *_: faults.pop(0))
    tried = targets.try_layouts(np.zeros((len(points), 1, 1, 1), np.uint8), 2)
    assert (tried.residuals, faults) == ({2: 0.01}, [])
    known = targets.geodesics(tried.points, relative=relative)
    np.testing.assert_array_equal(tried.codes, targets.lay_out(known, 2))


@pytest.mark.parametrize("dimensions", [1, 2, 3, 5])
def test_targets_have_any_number_of_dimensions(dimensions):
    images, chosen = faces()
    codes = choose(images, dimensions, kind="on")
    assert codes.shape == (len(images), dimensions)
    assert np.isfinite(codes).all()
    if dimensions == 2:
        assert shown_by(codes, chosen) > 0.85


def test_runs_on_one_set_share_their_targets_and_each_logs_them(monkeypatch, caplog):
    laid_out, lay_out = [], targets.lay_out
    monkeypatch.setattr(
        targets, "lay_out", lambda known, d: laid_out.append(d) or lay_out(known, d)
    )
    caplog.set_level("INFO", targets.__name__)
    images = ImageSet(faces()[0], "faces")
    first, again = (targets.choose(images, 2, TargetsConfig(weight=w)) for w in (0.01, 0.1))
    assert first is again
    assert laid_out == [2]
    assert [line[:25] for line in caplog.messages] == 2 * ["targets on: residual 0.00"]
    other = targets.choose(images, 3, TargetsConfig())
    assert other.shape == (150, 3)
    targets.choose(ImageSet(faces()[0], "faces"), 2, TargetsConfig())  # a set of its own
    assert laid_out == [2, 3, 2]


def test_images_in_another_order_have_the_same_targets():
    images, _ = faces()
    order = np.random.default_rng(1).permutation(len(images))
    np.testing.assert_allclose(
        pdist(choose(images[order])), pdist(targets_of_faces()[order]), atol=0.02 * targets.SPREAD
    )


def test_equal_images_have_equal_targets_and_change_no_other():
    images, _ = faces()
    again = np.random.default_rng(1).integers(0, 50, 150)
    codes = choose(np.concatenate([images, images[again]]))
    np.testing.assert_array_equal(codes[len(images) :], codes[again])
    # A share of the variance: images are laid out in another order, and rounded otherwise.
    assert procrustes(codes[: len(images)], targets_of_faces())[2] < 1e-5


def test_of_very_many_images_some_are_laid_out_and_others_put_among_them(monkeypatch):
    images, _ = faces()
    monkeypatch.setattr(targets, "LAID_OUT", 120)
    assert procrustes(choose(images), targets_of_faces())[2] < 0.02


@pytest.mark.parametrize("number", [2, 3, 5])
def test_few_images_have_targets_too(number):
    codes = choose(noise(number), 3, kind="on")
    assert np.isfinite(codes).all()
    assert (pdist(codes) > 0.5).all()


def test_sets_far_apart_have_targets_where_asked_for_alone(caplog, monkeypatch):
    monkeypatch.setattr(targets, "ITERATIONS", 100)
    caplog.set_level("INFO", logger="jaxsurf.manifold.targets")
    near, chosen = faces()
    images = ImageSet(np.concatenate([near, 255 - near]), "both")  # laid out once
    codes = targets.choose(images, 2, TargetsConfig(kind="on"))
    apart = np.linalg.norm(codes[: len(near)].mean(axis=0) - codes[len(near) :].mean(axis=0))
    assert apart > 1
    assert shown_by(codes[: len(near)], chosen) > 0.8
    assert targets.choose(images, 2, TargetsConfig()) is None
    forced, left = caplog.messages
    assert forced.startswith("targets on: residual 0.0")
    assert left == forced.replace("targets on", "targets off")
    assert left.endswith(" at d = 2, 2 groups of images lie apart")


@pytest.mark.parametrize(
    ("images", "dimensions", "helps", "enough"),
    [
        pytest.param(lambda: drawn("arm"), 2, True, 2, marks=pytest.mark.slow),
        (lambda: drawn("loop", stride=6), 2, True, 2),
        (lambda: drawn("pole", stride=2), 2, True, 2),
        (lambda: faces()[0], 2, True, 2),
        (lambda: drawn("torus"), 2, False, 3),
        (lambda: noise(300), 2, False, None),
        (lambda: noise(40), 2, False, 4),
        (lambda: faces()[0][::8], 2, True, 2),
    ],
)
def test_targets_are_used_where_no_sheet_lies_over_another(
    images, dimensions, helps, enough, caplog
):
    caplog.set_level("INFO", logger="jaxsurf.manifold.targets")
    assert (choose(images(), dimensions) is not None) == helps
    (told,) = caplog.messages
    assert told.startswith(f"targets {'on' if helps else 'off'}: residual 0.")
    cure = told.partition(": use ")[2]
    assert cure == ("" if helps or enough is None else f"d = {enough}")
