"""Latent codes by group: every group is seen in its colour, wherever it comes in the order."""

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from PIL import Image

from jaxsurf.errors import UserError
from jaxsurf.viewing import canvas, clusters

NAMES = ("top", "centre", "bottom")


def codes_of(latent, number=41):
    """Return three clusters of codes, and the group of each."""
    random = np.random.default_rng(0)
    codes = random.normal(size=(3, number, latent)) + 9 * np.arange(3)[:, None, None]
    return codes.reshape(-1, latent), [name for name in NAMES for _ in range(number)]


def drawn(path, codes, groups, **options):
    clusters.clusters_figure(path, codes, groups, title="Clusters", **options)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


def pixels_of(picture, colour, tolerance=45):
    """Return how many pixels have a colour, or nearly: dots let a little of the paper through."""
    wanted = np.round(255 * np.array(to_rgb(colour)))
    return int((np.abs(picture - wanted).max(axis=-1) <= tolerance).sum())


@pytest.mark.parametrize("latent", [1, 2, 3, 5])
def test_every_group_is_seen_in_its_colour(latent, tmp_path):
    codes, groups = codes_of(latent)
    picture = drawn(tmp_path / "a.png", codes, groups, width=530, height=470)
    assert picture.shape == (470, 530, 3)
    # A sixth of the height is the legend, which has all colours in any case.
    assert min(pixels_of(picture[:380], colour) for colour in canvas.COLOURS[:3]) > 50
    without = drawn(tmp_path / "a.png", codes[:82], groups[:82], width=530, height=470)
    assert pixels_of(without, canvas.COLOURS[2]) == 0


def test_no_group_hides_another(tmp_path):
    same = np.random.default_rng(0).normal(size=(4001, 2))
    codes = np.concatenate([same, same])
    picture = drawn(tmp_path / "a.png", codes, ["below"] * 4001 + ["above"] * 4001)[:650]
    # Equal dots lie upon each other, so without mixing the first group would not be seen at all.
    below, above = (pixels_of(picture, colour) for colour in canvas.COLOURS[:2])
    assert 0.5 < below / above < 2


def test_the_groups_are_named(tmp_path):
    codes, groups = codes_of(2)
    one = drawn(tmp_path / "a.png", codes, groups, name="camera height")
    other = drawn(tmp_path / "b.png", codes, groups, name="height of camera")
    renamed = drawn(tmp_path / "c.png", codes, [f"{group}s" for group in groups])
    assert np.any(one != other)
    assert np.any(one != renamed)


def test_many_groups_have_as_many_colours():
    colours = clusters._colours_of([str(i % 40) for i in range(200)])
    assert list(colours) == [str(i) for i in range(40)]
    assert len(set(colours.values())) == 40


def test_many_and_long_names_are_drawn(tmp_path):
    codes, _ = codes_of(2)
    groups = [f"a long name, number {i % 12}, of cost $^" for i in range(len(codes))]
    assert drawn(tmp_path / "a.png", codes, groups, name="$_").std() > 10


def test_codes_and_groups_that_differ_in_number_are_refused(tmp_path):
    codes, groups = codes_of(2)
    with pytest.raises(UserError, match=r"123 codes and 122 groups can't be drawn; give each"):
        drawn(tmp_path / "a.png", codes, groups[:-1])
    with pytest.raises(UserError, match=r"0 codes and 0 groups .* at least one of both"):
        drawn(tmp_path / "a.png", codes[:0], [])
