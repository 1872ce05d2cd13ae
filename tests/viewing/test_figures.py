import numpy as np
import pytest
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.viewing import figures
from jaxsurf.viewing.figures import LatentPlot
from jaxsurf.viewing.latent_axes import make_projection


def plot_of(latent, **changes):
    codes = np.random.default_rng(0).normal(size=(41, latent))
    ends = {"source 3": codes[3], "target 5": codes[5]}
    drawn = {
        "codes": codes,
        "title": "Latent space",
        "edges": np.stack([np.arange(40), np.arange(1, 41)], axis=-1),
        "factor": np.arange(41.0),
        "factor_name": "horizontal axis",
        "paths": {"surfing": codes[3:6], "linear": codes[[3, 5]]},
        "ends": ends,
    }
    return LatentPlot(**(drawn | changes))


def drawn(path, plot, **size):
    figures.latent_figure(path, plot, **size)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("latent", [1, 2, 3, 5])
def test_the_picture_has_the_size_asked_for(tmp_path, latent):
    picture = drawn(tmp_path / "a.png", plot_of(latent), width=530, height=470)
    assert picture.shape == (470, 530, 3)
    assert picture.std() > 10


@pytest.mark.parametrize("latent", [2, 3])
@pytest.mark.parametrize("left_out", ["edges", "factor", "paths", "ends"])
def test_everything_drawn_is_seen(tmp_path, latent, left_out):
    whole = drawn(tmp_path / "a.png", plot_of(latent))
    without = drawn(tmp_path / "b.png", plot_of(latent, **{left_out: None}))
    assert np.any(whole != without, axis=-1).sum() > 100


def test_another_path_is_another_picture(tmp_path):
    plot = plot_of(2)
    other = plot_of(2, paths={"surfing": plot.codes[7:11], "linear": plot.codes[[3, 5]]})
    assert np.any(drawn(tmp_path / "a.png", plot) != drawn(tmp_path / "b.png", other))


def test_the_same_plot_is_the_same_picture(tmp_path):
    pictures = [drawn(tmp_path / name, plot_of(3)) for name in ("a.png", "b.png")]
    np.testing.assert_array_equal(*pictures)


def test_many_dimensions_are_shown_by_their_principal_components():
    random = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(random.normal(size=(6, 6)))
    codes = random.normal(size=(4001, 6)) * [9, 1, 0.1, 5, 0.2, 0.3] @ rotation + 17
    project = make_projection(codes)
    np.testing.assert_allclose(project(codes).std(axis=0), [9, 5, 1], rtol=0.05)
    np.testing.assert_allclose(project(codes).mean(axis=0), 0, atol=1e-9)
    assert project.labels[0] == "PC 1 of 6 (76% of variance)"


@pytest.mark.parametrize("latent", [2, 3])
def test_few_dimensions_are_shown_as_they_are(latent):
    codes = np.random.default_rng(0).normal(size=(11, latent))
    np.testing.assert_array_equal(make_projection(codes)(codes), codes)


def test_curves_are_drawn(tmp_path):
    steps = np.arange(1, 30)
    figures.curves_figure(
        tmp_path / "a.png", {"mse": (steps, 1 / steps)}, title="Training", width=310, height=230
    )
    figures.curves_figure(
        tmp_path / "b.png", {"mse": (steps, 1 - steps)}, title="Training", width=310, height=230
    )
    with Image.open(tmp_path / "a.png") as first, Image.open(tmp_path / "b.png") as second:
        assert first.size == second.size == (310, 230)
        assert np.any(np.array(first) != np.array(second))


def test_no_curve_is_refused(tmp_path):
    with pytest.raises(UserError, match="no curve"):
        figures.curves_figure(tmp_path / "a.png", {}, title="Training")


@pytest.mark.parametrize("latent", [2, 3])
def test_dollar_signs_are_drawn_as_they_are(tmp_path, latent):
    odd = "cost$^$"
    plot = plot_of(
        latent,
        title=odd,
        factor_name=odd,
        ends={odd: np.zeros(latent)},
        paths={odd: np.eye(latent)},
    )
    assert drawn(tmp_path / "a.png", plot).std() > 10
    figures.curves_figure(tmp_path / "b.png", {odd: ([1, 2], [3, 4])}, title=odd, labels=(odd, odd))


@pytest.mark.parametrize("latent", [2, 3, 8])
def test_a_long_title_stays_on_the_picture(tmp_path, latent):
    title = (
        "MPI3D-toy: 14400 to 1036799, k-NN graph with k = 10, and the Euclidean minimum spanning "
        "tree, bridged"
    )
    pixels = drawn(tmp_path / "a.png", plot_of(latent, title=title))
    for border in (pixels[:, :2], pixels[:, -2:], pixels[:2], pixels[-2:]):
        assert (border == 255).all()
