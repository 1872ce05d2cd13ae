"""Animations of hand-made routes: their paths, frames and timing, and what is refused."""

import base64
import dataclasses
import io

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxsurf.errors import UserError
from jaxsurf.frames import animate
from jaxsurf.frames.animate import Route
from jaxsurf.manifold.path import Timing
from jaxsurf.models.autoencoder import Autoencoder

# A path of 4 edges, of lengths 3, 4, 5 and 6.
CODES = np.array([[0.0, 0.0], [3.0, 0.0], [3.0, 4.0], [8.0, 4.0], [8.0, -2.0]])


class Plane(Autoencoder):
    """Shows a code as it is: red and green are its two values, in 16ths."""

    def decode(self, codes):
        shown = jnp.broadcast_to(codes[:, None, None, :] / 16, (len(codes), 5, 7, 2))
        return jnp.pad(shown, [(0, 0), (0, 0), (0, 0), (0, 1)])


def route_of(codes=CODES, anchors=None):
    anchors = anchors or (0, len(codes) - 1)
    images = np.random.default_rng(0).integers(0, 256, (len(anchors), 5, 7, 3), dtype=np.uint8)
    return Route(codes=codes, images=images, anchors=anchors)


def animated(route, methods=animate.METHODS, **timing):
    (animations,) = animate.animate(Plane(), [route], methods=methods, timing=Timing(**timing))
    return animations


@pytest.mark.parametrize("timing", [{"points_per_edge": 3}, {"frames": 9}])
def test_linear_is_the_even_straight_line_and_pixel_the_cross_dissolve(timing):
    route = route_of()
    animations = animated(route, **timing)
    share = np.linspace(0, 1, 9)[:, None]
    np.testing.assert_allclose(animations["linear"].path.points, share * CODES[-1], atol=1e-12)
    share = share[..., None, None]
    expected = (1 - share) * route.images[0] + share * route.images[1]
    pixel = animations["pixel"]
    np.testing.assert_allclose(pixel.frames, expected, rtol=0, atol=0.5 + 1e-4)
    np.testing.assert_array_equal(pixel.frames[[0, -1]], route.images)
    assert pixel.path is None


@pytest.mark.core
def test_every_route_gets_its_own_paths_and_their_frames():
    routes = [route_of(), route_of(CODES[::-1]), route_of(CODES[1:3])]
    methods = ["surfing", "linear"]
    made = animate.animate(Plane(), routes, methods=methods, timing=Timing(points_per_edge=4))
    for route, animations in zip(routes, made, strict=True):
        assert list(animations) == methods
        surfing, linear = (animations[name].path.points for name in methods)
        np.testing.assert_array_equal(surfing[::3], route.codes)
        np.testing.assert_allclose(linear, np.linspace(*route.codes[[0, -1]], len(surfing)))
        for animation in animations.values():
            shown = np.clip(animation.path.points / 16, 0, 1) * 255
            np.testing.assert_allclose(animation.frames[:, 2, 3, :2], shown, atol=0.501)


@pytest.mark.parametrize("anchors", [(0, 1), (0, 1, 2)])
def test_pixel_begins_and_ends_with_its_anchors_where_codes_coincide(anchors):
    codes = np.array([[1.0, 2.0], [1.0, 2.0], [3.0, 2.0]])[: len(anchors)]
    route = route_of(codes, anchors)
    frames = animated(route, ["pixel"], frames=6)["pixel"].frames
    np.testing.assert_array_equal(frames[[0, -1]], route.images[[0, -1]])


def test_an_anchor_between_is_passed_by_all_methods_at_once():
    route = route_of(anchors=(0, 2, 4))
    animations = animated(route, points_per_edge=3)
    distances = np.linalg.norm(animations["surfing"].path.points - CODES[2], axis=1)
    assert distances.min() < 1e-9
    np.testing.assert_array_equal(animations["pixel"].frames[distances.argmin()], route.images[1])
    linear = animations["linear"].path.points
    np.testing.assert_allclose(linear[[2, 4]], [CODES[2] / 2, CODES[2]])


@pytest.mark.parametrize("speed", ["latent", "visible"])
def test_pieces_of_a_cross_dissolve_take_as_long_as_they_are_visible(speed):
    images = np.repeat(np.uint8([20, 60, 180]), 5 * 7 * 3).reshape(3, 5, 7, 3)
    route = Route(codes=CODES, images=images, anchors=(0, 3, 4))
    frames = animated(route, ["pixel"], frames=9, speed=speed)["pixel"].frames
    np.testing.assert_array_equal(frames[:, 0, 0, 0], np.linspace(20, 180, 9))


def test_an_animation_saves_and_shows_itself(tmp_path):
    animation = dataclasses.replace(animated(route_of(), frames=7)["pixel"], frame_ms=110.0)
    animation.save(tmp_path / "deep" / "a.gif")
    content = animation._repr_html_().partition(";base64,")[2].partition('"')[0]
    shown = base64.b64decode(content)
    assert (tmp_path / "deep" / "a.gif").read_bytes() == shown
    with Image.open(io.BytesIO(shown)) as film:
        assert sum(page.info["duration"] for page in ImageSequence.Iterator(film)) == 770
    with pytest.raises(UserError, match=r"a\.mp4 is no name of an animation; let it end in \.gif"):
        animation.save("a.mp4")


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["linear", "slerp"], "'slerp' is not built, since surfing is as good; choose .*linear"),
        (["lineal"], "'lineal' is not known; .*pixel, linear, surfing"),
        ([], "no method"),
    ],
)
def test_what_cannot_be_animated_is_refused(methods, message):
    with pytest.raises(UserError, match=message):
        animate.check_methods(methods)
