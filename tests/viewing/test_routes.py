import numpy as np
import pytest
from PIL import Image

from jaxsurf.viewing import routes
from jaxsurf.viewing.routes import Leg, RoutePlot


def plot_of(latent, number=41, **changes):
    codes = np.random.default_rng(0).normal(size=(number, latent))
    drawn = {
        "codes": codes,
        "title": "z.npy: 3, 5, 7",
        "legs": [
            Leg(name="1 to 2", points=codes[3:6]),
            Leg(name="2 to 3", points=codes[5:8]),
            Leg(name="3 back to 1", points=codes[[7, 3]], back=True),
        ],
        "stops": [(str(row), codes[row]) for row in (3, 5, 7, 3)],
        "edges": np.stack([np.arange(40), np.arange(1, 41)], axis=-1),
        "marks": [codes[11:17]],
    }
    return RoutePlot(**(drawn | changes))


def drawn(path, plot, **size):
    routes.route_figure(path, plot, **size)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.array(image.convert("RGB")).astype(int)


@pytest.mark.parametrize("number", [41, routes.MOST_DOTS + 1])
@pytest.mark.parametrize("latent", [1, 2, 3, 5])
def test_the_picture_has_the_size_asked_for(tmp_path, latent, number):
    picture = drawn(tmp_path / "a.png", plot_of(latent, number), width=530, height=470)
    assert picture.shape == (470, 530, 3)
    assert picture.std() > 10


@pytest.mark.parametrize("latent", [2, 8])
@pytest.mark.parametrize(
    ("left_out", "nothing"), [("edges", None), ("legs", []), ("stops", []), ("marks", None)]
)
def test_everything_drawn_is_seen(tmp_path, latent, left_out, nothing):
    whole = drawn(tmp_path / "a.png", plot_of(latent))
    without = drawn(tmp_path / "b.png", plot_of(latent, **{left_out: nothing}))
    assert np.any(whole != without, axis=-1).sum() > 100


def test_the_way_back_and_the_order_of_stops_are_seen(tmp_path):
    plot = plot_of(2)
    whole = drawn(tmp_path / "a.png", plot)
    *others, last = plot.legs
    open_way = plot_of(2, legs=[*others, Leg(name=last.name, points=last.points)])
    assert np.any(whole != drawn(tmp_path / "b.png", open_way), axis=-1).sum() > 20
    turned = plot_of(2, stops=[plot.stops[place] for place in (0, 2, 1, 3)])
    assert np.any(whole != drawn(tmp_path / "c.png", turned), axis=-1).sum() > 20


def test_legs_that_run_over_one_another_are_all_seen(tmp_path):
    codes = plot_of(2).codes
    legs = [Leg(name=f"{number}", points=codes[3:5]) for number in range(5)]
    picture = drawn(tmp_path / "a.png", plot_of(2, legs=legs, stops=[], marks=None, edges=None))
    for colour in routes.COLOURS[:4]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        in_axes = picture[60:740, 60:860]
        assert (np.abs(in_axes - wanted).sum(axis=-1) < 30).sum() > 30, colour


def test_many_codes_are_a_map_of_their_density(tmp_path):
    crowded = plot_of(2, routes.MOST_DOTS + 1, legs=[], stops=[], marks=None, edges=None)
    dense = drawn(tmp_path / "a.png", crowded)[60:740, 60:1040].sum(axis=-1)
    middle, rim = dense[330:370, 450:530], dense[100:140, 450:530]
    assert middle.mean() < rim.mean() - 20


def test_codes_on_one_spot_and_ways_of_no_length_are_drawn(tmp_path):
    codes = np.zeros((5, 3))
    plot = plot_of(
        3, codes=codes, legs=[Leg(name="a", points=codes[:2])], stops=[("3", codes[3])], edges=None
    )
    assert drawn(tmp_path / "a.png", plot).std() > 10


def test_dollar_signs_are_drawn_as_they_are(tmp_path):
    odd = "cost$^$"
    codes = plot_of(2).codes
    plot = plot_of(2, title=odd, legs=[Leg(name=odd, points=codes[:3])], stops=[(odd, codes[0])])
    assert drawn(tmp_path / "a.png", plot).std() > 10
