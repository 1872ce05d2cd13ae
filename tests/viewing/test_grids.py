"""The figure of a grid search: every member is seen, failures apart, medians where they belong."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.viewing import grids, placing
from jaxsurf.viewing.grids import GridPlot

SETTINGS = {"batch size": ["16", "32", "64"], "noise": ["normal", "white"], "channels": ["8", "16"]}
ROWS = list(itertools.product(*SETTINGS.values()))


def plot_of(**changes):
    """Return a plot of twelve members, two of which failed."""
    values = {
        "title": "A search",
        "axes": {name: [row[i] for row in ROWS] for i, name in enumerate(SETTINGS)},
        "losses": [0.001 * (i + 1) for i in range(10)] + [None, 0.5],
        "failed": [False] * 10 + [True, True],
    }
    return GridPlot(**(values | changes))


def drawn(path, plot, **size):
    grids.axes_figure(path, plot, **size)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


def pixels_of(picture, colour, tolerance=24):
    """Return how many pixels have a colour."""
    wanted = np.round(255 * np.array(to_rgb(colour)))
    return int((np.abs(picture - wanted).max(axis=-1) <= tolerance).sum())


def test_the_picture_has_the_size_asked_for(tmp_path):
    assert drawn(tmp_path / "a.png", plot_of(), width=730, height=410).shape == (410, 730, 3)


@pytest.mark.parametrize(("number", "rows"), [(1, 1), (4, 1), (5, 2), (9, 3)])
def test_panels_have_rows_as_they_need(number, rows, tmp_path):
    axes = {f"setting {i}": ["1", "2"] * 6 for i in range(number)}
    picture = drawn(tmp_path / "a.png", plot_of(axes=axes))
    assert picture.shape == (rows * grids.ROW_HEIGHT, 1200, 3)


def test_failures_are_crosses_and_others_are_none(tmp_path):
    some = drawn(tmp_path / "a.png", plot_of())
    none = drawn(tmp_path / "b.png", plot_of(losses=[0.01] * 12, failed=[False] * 12))
    assert pixels_of(none, grids.FAILURE) == 0
    assert pixels_of(some, grids.FAILURE) > 30
    more = drawn(tmp_path / "c.png", plot_of(failed=[False] * 6 + [True] * 6))
    assert pixels_of(more, grids.FAILURE) > 2 * pixels_of(some, grids.FAILURE)


@pytest.mark.parametrize("loss", [None, np.nan, np.inf])
def test_a_member_without_a_finite_loss_has_failed(loss, tmp_path):
    losses = [*plot_of().losses[:11], loss]
    said = drawn(tmp_path / "a.png", plot_of(losses=losses))
    unsaid = drawn(tmp_path / "b.png", plot_of(losses=losses, failed=[False] * 12))
    np.testing.assert_array_equal(said, unsaid)


def test_the_loss_of_a_failure_changes_nothing(tmp_path):
    pictures = [
        drawn(tmp_path / f"{loss}.png", plot_of(losses=[*plot_of().losses[:11], loss]))
        for loss in (0.5, -1e9, None)
    ]
    np.testing.assert_array_equal(pictures[0], pictures[1])
    np.testing.assert_array_equal(pictures[0], pictures[2])


def test_every_member_is_a_dot_of_its_own():
    places = np.repeat([0, 1, 2], [7, 1, 29])
    across = placing.spread(places)
    assert len(np.unique(across.round(6))) == len(places)
    assert np.all(np.abs(across - places) < placing.SPREAD / 2)
    np.testing.assert_allclose(across[7], 1)


def test_medians_leave_failures_out():
    places = np.array([0, 1, 0, 1, 0, 2, 2, 0])
    losses = np.array([1.0, 7.0, 3.0, 9.0, 100.0, 5.0, np.nan, 2.0])
    failed = np.array([0, 0, 0, 0, 1, 1, 1, 0], bool)
    np.testing.assert_array_equal(grids.medians(places, losses, ~failed), [2.0, 8.0, np.nan])


def test_the_line_of_medians_follows_them(tmp_path):
    """In a picture of one panel, black above the lower half says where the median of 2 is."""
    axes = {"x": ["1", "2"] * 6}
    for high, losses in [(True, [1.0, 100.0] * 6), (False, [100.0, 1.0] * 6)]:
        plot = plot_of(axes=axes, losses=losses, failed=[False] * 12, title="")
        picture = drawn(tmp_path / "a.png", plot, width=400, height=300)
        right = picture[40:90, 240:380]
        assert (pixels_of(right, grids.MEDIAN) > 0) == high


def test_numbers_come_by_size_and_names_as_they_come():
    assert placing.in_order(["64", "8", "1e-3", "8", "16"]) == ["1e-3", "8", "16", "64"]
    assert placing.in_order(["white", "none", "white", "3"]) == ["white", "none", "3"]


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": [None] * 12},
        {"failed": [True] * 12},
        {"losses": [0.0] * 12, "failed": [False] * 12},
        {"losses": [3.0] * 12},
        {"losses": [-1.0, *[2.0] * 11]},
        {"axes": {"cost$^$": ["a$_$"] * 12}, "title": "$^", "loss_name": "$_"},
        {"axes": {"x": ["a rather long value"] * 11 + ["and another that is longer still"]}},
        {"axes": {"x": ["1"]}, "losses": [0.5], "failed": [False]},
    ],
)
def test_odd_searches_are_drawn(changes, tmp_path):
    assert drawn(tmp_path / "a.png", plot_of(**changes)).std() > 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": {}}, "no grid to draw: 0 settings, 12 members; give at least one of each"),
        ({"losses": [], "failed": []}, "no grid to draw: 3 settings, 0 members"),
        ({"failed": [True]}, "failed has 1 values, but there are 12 losses"),
        ({"axes": {"noise": ["1"] * 11}}, "noise has 11 values, but there are 12 losses"),
    ],
)
def test_lengths_that_differ_are_refused(changes, words):
    with pytest.raises(UserError, match=words):
        plot_of(**changes)


def test_series_have_colours_and_medians_of_their_own(tmp_path):
    series = ["pixels", "features"] * 6
    losses = [(1.0 if name == "features" else 1e-3) * (1 + i) for i, name in enumerate(series)]
    plot = plot_of(losses=losses, failed=[False] * 12, series=series)
    picture = drawn(tmp_path / "a.png", plot)
    for colour in grids.SERIES[:2]:
        assert pixels_of(picture, colour) > 100
    one = drawn(tmp_path / "b.png", plot_of(losses=losses, failed=[False] * 12))
    assert pixels_of(one, grids.SERIES[1]) == 0


def test_a_line_joins_the_medians_of_its_own_series():
    panel = Figure().subplots()
    losses = [1.0, 100.0, 3.0, 300.0, 2.0, 200.0, 5.0, None]
    plot = plot_of(
        axes={"x": ["8"] * 2 + ["16"] * 6},
        losses=losses,
        failed=[False] * 4 + [True] + [False] * 3,
        series=["low", "high"] * 4,
    )
    grids._draw_panel(panel, plot.axes["x"], plot)
    low, high = panel.lines
    np.testing.assert_array_equal(low.get_ydata(), [1.0, 4.0])
    np.testing.assert_array_equal(high.get_ydata(), [100.0, 250.0])
    dots = [sorted(np.asarray(marks.get_offsets())[:, 1]) for marks in panel.collections[:2]]
    assert dots == [[1.0, 3.0, 5.0], [100.0, 200.0, 300.0]]


def test_one_series_looks_as_none(tmp_path):
    none = drawn(tmp_path / "a.png", plot_of())
    one = drawn(tmp_path / "b.png", plot_of(series=["pixels"] * 12))
    np.testing.assert_array_equal(one, none)


@pytest.mark.parametrize(("number", "lines"), [(2, 1), (3, 2), (5, 3)])
def test_names_of_series_have_lines_as_they_need(number, lines, tmp_path):
    series = [f"{i % number} times a weighting of many, many terms" for i in range(12)]
    picture = drawn(tmp_path / "a.png", plot_of(series=series))
    assert picture.shape == (grids.ROW_HEIGHT + lines * grids.NAMES_HEIGHT, 1200, 3)


def test_more_series_than_colours_are_told_apart(tmp_path):
    plot = plot_of(series=[f"weights {i}" for i in range(12)], failed=[False] * 12)
    colours = [line for _, line in grids._colours(plot).values()]
    assert len(set(colours)) == 12
    drawn(tmp_path / "a.png", plot)


def test_series_of_another_length_are_refused():
    with pytest.raises(UserError, match="series has 2 values, but there are 12 losses"):
        plot_of(series=["one", "two"])


def test_long_labels_are_cut_and_stay_apart():
    paths = [f"/very/long/path/of/{folder}/images.npz" for folder in "ab"]
    assert placing.fitting([*paths, "short"]) == [
        "1: .../of/a/images.npz",
        "2: .../of/b/images.npz",
        "short",
    ]
