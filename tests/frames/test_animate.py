import base64
import dataclasses
import io
import json

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from PIL import Image, ImageSequence

from jaxsurf.errors import UserError
from jaxsurf.frames import animate
from jaxsurf.frames.animate import Route, Timing
from jaxsurf.models.autoencoder import Autoencoder

# A path of 4 edges, of lengths 3, 4, 5 and 6.
CODES = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [8.0, 4.0], [8.0, -2.0]])


class Plane(Autoencoder):
    """Shows a code as it is: red and green are its two values, in 16ths."""

    def __init__(self):
        self.scale = nnx.Param(jnp.full((1, 1, 1, 2), 1 / 16))

    def decode(self, codes):
        shown = jnp.broadcast_to(codes[:, None, None, :], (len(codes), 5, 7, 2)) * self.scale[...]
        return jnp.pad(shown, [(0, 0), (0, 0), (0, 0), (0, 1)])


def images_of(num, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (num, 5, 7, 3), dtype=np.uint8)


def route_of(codes=CODES, anchors=()):
    return Route(codes=codes, images=images_of(len(anchors) or 2), anchors=anchors)


def animated(route, methods=animate.METHODS, **timing):
    (animations,) = animate.animate(Plane(), [route], methods=methods, timing=Timing(**timing))
    return animations


@pytest.mark.parametrize("points_per_edge", [2, 3, 5])
def test_all_methods_have_m_times_n_minus_1_plus_1_frames(points_per_edge):
    for animation in animated(route_of(), points_per_edge=points_per_edge).values():
        assert animation.frames.shape == (4 * (points_per_edge - 1) + 1, 5, 7, 3)


def test_all_methods_have_the_frames_asked_for():
    for animation in animated(route_of(), frames=23).values():
        assert len(animation.frames) == 23


def test_surfing_passes_every_node():
    surfing = animated(route_of(), points_per_edge=3)["surfing"]
    np.testing.assert_array_equal(surfing.path.points[::2], CODES)
    assert surfing.path.length == pytest.approx(18.0, rel=1e-12)


def test_with_frames_surfing_runs_at_constant_speed():
    surfing = animated(route_of(), frames=19)["surfing"]
    np.testing.assert_allclose(surfing.path.points[[3, 7, 12]], CODES[[1, 2, 3]], atol=1e-9)


@pytest.mark.parametrize("timing", [{"points_per_edge": 3}, {"frames": 9}])
def test_linear_is_the_even_straight_line(timing):
    linear = animated(route_of(), **timing)["linear"]
    expected = np.linspace(0, 1, 9)[:, None] * CODES[-1]
    np.testing.assert_allclose(linear.path.points, expected, rtol=1e-12, atol=1e-12)


def test_pixel_is_the_cross_dissolve_of_the_data_images():
    route = route_of()
    pixel = animated(route, frames=11)["pixel"]
    share = np.linspace(0, 1, 11)[:, None, None, None]
    expected = (1 - share) * route.images[0] + share * route.images[1]
    np.testing.assert_allclose(pixel.frames, expected, rtol=0, atol=0.5 + 1e-4)
    np.testing.assert_array_equal(pixel.frames[[0, -1]], route.images)
    assert pixel.path is None


def test_every_route_gets_its_own_paths_and_their_frames():
    routes = [route_of(), route_of(CODES[::-1]), route_of(CODES[1:3])]
    made = animate.animate(
        Plane(), routes, methods=animate.METHODS, timing=Timing(points_per_edge=4)
    )
    for route, animations in zip(routes, made, strict=True):
        surfing, linear = (animations[name].path.points for name in ("surfing", "linear"))
        np.testing.assert_array_equal(surfing[::3], route.codes)
        np.testing.assert_allclose(linear, np.linspace(*route.codes[[0, -1]], len(surfing)))
        for name in ("linear", "surfing"):
            shown = np.clip(animations[name].path.points / 16, 0, 1) * 255
            np.testing.assert_allclose(animations[name].frames[:, 2, 3, :2], shown, atol=0.501)


def test_only_the_methods_asked_for_come_back_in_their_order():
    assert list(animated(route_of(), methods=["surfing", "pixel"])) == ["surfing", "pixel"]


def test_source_equal_to_target_is_one_frame():
    for animation in animated(route_of(CODES[:1])).values():
        assert animation.frames.shape == (1, 5, 7, 3)


def test_source_equal_to_target_stands_still_in_all_frames_asked_for():
    animations = animated(route_of(CODES[:1]), frames=6)
    for name in ("linear", "surfing"):
        assert len(animations[name].frames) == 6
        assert np.ptp(animations[name].frames, axis=0).max() == 0


@pytest.mark.parametrize("anchors", [(0, 1), (0, 1, 2)])
def test_pixel_begins_and_ends_with_its_anchors_where_codes_coincide(anchors):
    codes = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]])[: len(anchors)]
    route = route_of(codes, anchors)
    frames = animated(route, ["pixel"], frames=6)["pixel"].frames
    np.testing.assert_array_equal(frames[0], route.images[0])
    np.testing.assert_array_equal(frames[-1], route.images[-1])


@pytest.mark.parametrize("timing", [{"points_per_edge": 3}, {"frames": 19}])
def test_pixel_shows_an_anchor_between_when_surfing_is_there(timing):
    route = route_of(anchors=(0, 2, 4))
    animations = animated(route, **timing)
    distances = np.linalg.norm(animations["surfing"].path.points - CODES[2], axis=1)
    assert distances.min() < 1e-9
    np.testing.assert_array_equal(animations["pixel"].frames[distances.argmin()], route.images[1])


def test_linear_passes_an_anchor_between():
    linear = animated(route_of(anchors=(0, 2, 4)))["linear"].path.points
    np.testing.assert_allclose(linear[4], CODES[2])
    np.testing.assert_allclose(linear[2], CODES[2] / 2)


def test_a_description_is_json():
    animation = animated(route_of(), frames=5)["linear"]
    described = dataclasses.replace(animation, frame_ms=40.0, metrics={"error": 3.5}).describe()
    assert json.loads(json.dumps(described, allow_nan=False))["duration_ms"] == 200.0
    assert described["error"] == 3.5
    assert described["length"] == pytest.approx(np.hypot(8, 2))
    assert len(described["points"]) == described["num_frames"] == 5


def test_an_animation_saves_and_shows_itself(tmp_path):
    animation = dataclasses.replace(animated(route_of(), frames=7)["pixel"], frame_ms=110.0)
    animation.save(tmp_path / "deep" / "a.gif")
    content = animation._repr_html_().partition(";base64,")[2].partition('"')[0]
    shown = base64.b64decode(content)
    assert (tmp_path / "deep" / "a.gif").read_bytes() == shown
    with Image.open(io.BytesIO(shown)) as film:
        assert sum(page.info["duration"] for page in ImageSequence.Iterator(film)) == 770
    with pytest.raises(UserError, match=r"a\.mp4 is no name of a GIF; let it end in \.gif"):
        animation.save("a.mp4")


@pytest.mark.parametrize("method", animate.NOT_BUILT)
def test_a_method_not_built_is_refused_by_name(method):
    with pytest.raises(UserError, match=f"'{method}' is not built yet; .*linear"):
        animated(route_of(), methods=["linear", method])


@pytest.mark.parametrize(
    ("methods", "message"),
    [(["lineal"], "'lineal' is not known; .*pixel, linear, surfing"), ([], "no method"),
     (["pixel", "pixel"], "twice")],
)  # fmt: skip
def test_other_methods_are_refused(methods, message):
    with pytest.raises(UserError, match=message):
        animated(route_of(), methods=methods)


@pytest.mark.parametrize("timing", [{"points_per_edge": 1}, {"frames": 1}, {"frames": -3}])
def test_too_few_frames_are_refused(timing):
    with pytest.raises(UserError, match="2 or more"):
        Timing(**timing)


@pytest.mark.parametrize("anchors", [(0, 3), (1, 4), (0, 3, 2, 4)])
def test_anchors_that_do_not_span_the_path_are_a_defect(anchors):
    with pytest.raises(ValueError, match="don't span"):
        route_of(anchors=anchors)


def test_anchors_without_an_image_are_a_defect():
    with pytest.raises(ValueError, match="3 anchors have 2 images"):
        Route(codes=CODES, images=images_of(2), anchors=(0, 2, 4))
