"""Every picture shows the data it was given: read from the artists of its axes."""

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from jaxsurf.viewing import plots
from jaxsurf.viewing.plots import COLOURS, LatentPlot, PairPlot

ODD = "cost$^$ <b> \\ größer"


def plot_of(latent, number=41, **changes):
    codes = np.random.default_rng(0).normal(size=(number, latent))
    drawn = {
        "codes": codes,
        "title": "z.npy: 3, 5, 7",
        "edges": np.stack([np.arange(40), np.arange(1, 41)], axis=-1),
        "lines": {"1 to 2": codes[3:6], "2 back to 1": codes[[5, 3]]},
        "stops": {"1: 3": codes[3], "2: 5": codes[5]},
        "marks": codes[11:17],
    }
    return LatentPlot(**(drawn | changes))


def axes_of(plot):
    figure = plots.latent(plot)
    figure.canvas.draw()
    return figure.axes[0]


def dots(axes, number):
    """Return the positions of the scattered points of which there are so many."""
    (found,) = [each for each in axes.collections if len(each.get_offsets()) == number]
    return np.asarray(found.get_offsets())


def labels_of(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


@pytest.mark.core
@pytest.mark.parametrize("latent", [1, 2, 3, 5])
def test_a_picture_has_the_size_asked_for_and_a_long_title_stays_on_it(tmp_path, latent):
    title = "MPI3D-toy: 14400 to 1036799, " + 4 * "the Euclidean minimum spanning tree, bridged, "
    plots.save(plots.latent(plot_of(latent, title=title), width=530), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert (image.format, image.size) == ("PNG", (530, 800))
        pixels = np.asarray(image.convert("L"))
    assert pixels.std() > 10
    assert (pixels[[0, -1]] == 255).all()
    assert (pixels[:, [0, -1]] == 255).all()


def test_codes_edges_marks_and_lines_are_where_they_were_given():
    plot = plot_of(2)
    axes = axes_of(plot)
    np.testing.assert_allclose(dots(axes, 41), plot.codes)
    np.testing.assert_allclose(dots(axes, 6), plot.marks)
    edges, first, back = (np.stack(line.get_data(), axis=-1) for line in axes.lines)
    np.testing.assert_allclose(edges.reshape(40, 3, 2)[:, :2], plot.codes[plot.edges])
    assert np.isnan(edges.reshape(40, 3, 2)[:, 2]).all()
    np.testing.assert_allclose(first, plot.codes[3:6])
    np.testing.assert_allclose(back, plot.codes[[5, 3]])


def test_dimensions_are_shown_as_they_are_or_as_principal_components():
    plot = plot_of(3)
    spatial, flat = axes_of(plot), axes_of(plot_of(3, dimensions=2))
    np.testing.assert_allclose(np.stack(spatial.lines[1].get_data_3d(), axis=-1), plot.codes[3:6])
    assert spatial.get_zlabel() == "latent 3"
    assert not hasattr(flat, "get_zlabel")
    random = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    codes = random.normal(size=(4001, 6)) * [9, 1, 0.1, 5, 0.2, 0.3] @ rotation + 17
    axes = axes_of(LatentPlot(codes=codes, title="", dimensions=2))
    shown = dots(axes, 4001)
    np.testing.assert_allclose(shown.std(axis=0), [9, 5], rtol=0.05)
    np.testing.assert_allclose(shown.mean(axis=0), 0, atol=1e-9)
    assert axes.get_xlabel() == "PC 1 of 6 (76% of variance)"


def test_groups_are_mixed_and_have_colours_of_their_own_as_values_have():
    groups = ["below"] * 20 + ["above"] * 21
    plot = plot_of(2, groups=groups, legend="camera height", lines={}, marks=None)
    figure = plots.latent(plot)
    cloud = figure.axes[0].collections[0]
    places = {tuple(code): group for code, group in zip(plot.codes, groups, strict=True)}
    drawn = [places[tuple(place)] for place in cloud.get_offsets()]
    assert drawn not in (groups, groups[::-1])
    wanted = {"below": COLOURS[0].lower(), "above": COLOURS[1].lower()}
    assert [wanted[group] for group in drawn] == [to_hex(c) for c in cloud.get_facecolors()]
    assert labels_of(figure) == ["below", "above"]
    assert figure.legends[0].get_title().get_text() == "camera height"
    axes, bar = plots.latent(plot_of(2, values=np.arange(41.0), legend="axis")).axes
    np.testing.assert_array_equal(axes.collections[0].get_array(), np.arange(41))
    assert bar.get_ylabel() == "axis"


def test_lines_are_told_apart_and_only_as_many_named_as_there_is_room_for():
    lines = {str(n): np.eye(2) for n in range(99)}
    figure = plots.latent(plot_of(2, lines=lines))
    assert len(figure.axes[0].lines) == 100
    assert labels_of(figure) == [str(n) for n in range(plots.MOST_NAMES)]
    drawn = plots.latent(plot_of(2, lines=dict(list(lines.items())[:5]))).axes[0].lines[1:]
    assert [line.get_color() for line in drawn] == list(COLOURS[:5])
    widths = [line.get_linewidth() for line in drawn]
    assert widths == sorted(set(widths), reverse=True)


def test_odd_names_are_drawn_as_they_are():
    odd = {"title": ODD, "legend": ODD}
    for latent, colours in ((2, {"values": np.arange(41.0)}), (3, {"groups": [ODD] * 41})):
        lines, stops = {ODD: np.eye(latent)}, {ODD: np.ones(latent)}
        plots.png(plots.latent(plot_of(latent, lines=lines, stops=stops, **odd, **colours)))
    plots.png(plots.curves({ODD: ([1, 2], [3, 4])}, ODD))
    assert plots.png(plots.grid({ODD: [ODD] * 2}, [1.0, 2.0], title=ODD)).startswith(b"\x89PNG")


def test_values_longer_than_there_is_room_for_end_as_they_end():
    values = [f"runs/{'data/' * 30}{name}.npz" for name in ("first", "other")]
    figure = plots.grid({"data.path": values}, [1.0, 2.0], title="")
    plots.png(figure)  # without a warning that nothing is left of the panels
    assert ticks(figure.axes[0]) == ["1: ...a/data/first.npz", "2: ...a/data/other.npz"]


@pytest.mark.parametrize("loss", [None, 0.0, -1.0])
def test_a_search_without_a_positive_loss_is_drawn(loss):
    assert plots.png(plots.grid({"a": ["b"]}, [loss], title="")).startswith(b"\x89PNG")


SIZES = ["16", "8", "8", "16", "16", "8", "8"]
NOISES = ["white", "normal", "white", "none", "none", "none", "normal"]
LOSSES = [1.0, 7.0, 3.0, None, 2.0, np.nan, 40.0]


def ticks(panel):
    return [label.get_text() for label in panel.get_xticklabels()]


def test_a_search_shows_every_run_and_the_medians_of_those_that_did_not_fail():
    sizes, noises = plots.grid({"batch size": SIZES, "noise": NOISES}, LOSSES, title="").axes
    assert (sizes.get_xlabel(), noises.get_xlabel()) == ("batch size", "noise")
    assert (ticks(sizes), ticks(noises)) == (["8", "16"], ["white", "normal", "none"])
    placed = np.asarray(sizes.collections[0].get_offsets())
    np.testing.assert_array_equal(placed[:, 1], [1, 7, 3, 2, 40])
    np.testing.assert_array_equal(placed[:, 0].round(), [1, 0, 0, 1, 0])
    assert len(set(placed[:, 0])) == 5
    np.testing.assert_array_equal(sizes.lines[0].get_ydata(), [7, 1.5])
    np.testing.assert_array_equal(noises.lines[0].get_ydata(), [2, 23.5, 2])


def test_series_have_colours_and_medians_of_their_own():
    figure = plots.grid({"size": ["8"] * 4}, [1.0, 100, 3, 300], title="", series=["a", "b"] * 2)
    low, high = figure.axes[0].lines
    assert (low.get_ydata(), high.get_ydata()) == ([2.0], [200.0])
    assert labels_of(figure) == ["a", "b"]


def test_errors_by_distance_show_every_pair_and_the_medians_of_groups():
    random = np.random.default_rng(3)
    rows = [
        {"method": method, "ends_distance": float(distance), "course": float(random.uniform())}
        for distance in random.permutation(47)
        for method in ("linear", "surfing")
    ]
    rows.append({"method": "true", "ends_distance": "", "course": ""})
    axes = plots.by_distance(rows, "course").axes[0]
    assert [line.get_label() for line in axes.lines] == ["linear", "surfing"]
    errors = {row["ends_distance"]: row["course"] for row in rows if row["method"] == "surfing"}
    dots = axes.collections[1].get_offsets()
    np.testing.assert_allclose(dots, sorted(errors.items()))
    first = axes.lines[1].get_xydata()[0]  # of eight groups, six pairs in the first
    expected = np.median([2.5, 2.5]), np.median([errors[distance] for distance in range(6)])
    np.testing.assert_allclose(first, expected)
    assert plots.by_distance([{"method": "linear", "course": 1.0}], "course") is None


@pytest.mark.parametrize("factors", [("turn",), ("hour", "minute"), ("a", "b", "c"), ()])
def test_a_pair_shows_its_frames_with_their_poses_and_the_perfect_courses(factors):
    random = np.random.default_rng(4)
    frames = {"linear": 5, "surfing": 13}
    rows = {n: random.integers(256, size=(k, 7, 11, 3), dtype=np.uint8) for n, k in frames.items()}
    poses = {n: random.uniform(size=(k, len(factors))) for n, k in frames.items() if factors}
    courses = [random.uniform(size=(17, len(factors)))] if factors else []
    known = {"poses": poses, "factors": factors, "courses": courses}
    figure = plots.pair(PairPlot(title="3 to 5", rows=rows, **known))
    drawn = len(factors) in (1, 2)
    panels = figure.axes[drawn:]
    for panel, (name, shown) in zip(panels, rows.items(), strict=True):
        places = [0, 1, 2, 3, 4] if name == "linear" else [0, 2, 3, 4, 6, 8, 9, 10, 12]
        (picture,) = panel.images
        np.testing.assert_array_equal(picture.get_array()[:, :11], shown[0])
        np.testing.assert_array_equal(picture.get_array()[:, -11:], shown[-1])
        assert picture.get_array().shape == (7, 11 * len(places), 3)
        labels = [label.get_text() for label in panel.get_xticklabels()]
        pose = poses[name][places[1]] if factors else ()
        assert labels[1] == ", ".join(f"{value:.1f}" for value in pose)
    if drawn:
        lines = {line.get_label(): line.get_xydata() for line in figure.axes[0].lines}
        expected = courses[0][:, [-1]]
        np.testing.assert_allclose(lines["perfect courses"][:, 1:], expected)


@pytest.mark.parametrize(
    ("turns", "broken"),
    [([350.0, 358.0, 6.0, 14.0], [2]), ([2.0, 350.0, 100.0], [1, 3]), ([10.0, 180.0], [])],
)
def test_poses_that_go_past_the_end_of_a_period_are_not_joined_across(turns, broken):
    rows = {"surfing": np.zeros((len(turns), 7, 11, 3), np.uint8)}
    both = np.pad(np.array(turns)[:, None], [(0, 0), (1, 0)])
    for first in (0, 1):  # of two factors, the other of which has no period, and of one alone
        known = {"poses": {"surfing": both[:, first:]}, "courses": [both[:, first:]]}
        known |= {"factors": ("level", "turn")[first:], "periods": [0.0, 360.0][first:]}
        figure = plots.pair(PairPlot(title="", rows=rows, **known))
        for line in figure.axes[0].lines:
            drawn = line.get_ydata()
            assert np.flatnonzero(np.isnan(drawn)).tolist() == broken
            assert drawn[~np.isnan(drawn)].tolist() == turns
