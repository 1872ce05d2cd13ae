"""GIFs read back: durations and colours; pictures and strips."""

import io

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from jaxsurf.errors import UserError
from jaxsurf.frames import media


def scene(num_frames, height=29, width=31):
    """A ball of changing colour on a smooth background: more than 256 colours."""
    y, x = np.mgrid[:height, :width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for i in range(num_frames):
        frames[i] = np.stack([4 * x, 3 * y + 50, 2 * x + 2 * y], axis=-1)
        ball = (x - 3 - i % 25) ** 2 + (y - 14) ** 2 < 30
        frames[i, ball] = (200, 2 * i, 255 - 2 * i)
    return frames


def read_back(frames, **options):
    """Return the durations and the frames of a GIF."""
    with Image.open(io.BytesIO(media.gif(frames, **options))) as image:
        assert image.info.get("loop") == 0 or len(frames) == 1
        pages = [(p.info["duration"], p.convert("RGB")) for p in ImageSequence.Iterator(image)]
    return [duration for duration, _ in pages], np.stack([np.array(page) for _, page in pages])


@pytest.mark.core
@pytest.mark.parametrize(("num_frames", "frame_ms"), [(101, 33.3), (1, 47.0)])
def test_durations_are_exact_to_a_tick_and_rounding_does_not_add_up(num_frames, frame_ms):
    durations, _ = read_back(scene(num_frames), frame_ms=frame_ms)
    exact = frame_ms * np.arange(1, num_frames + 1)
    np.testing.assert_allclose(np.cumsum(durations), exact, atol=5)


def test_colours_come_back_within_the_palette_error_and_do_not_flicker():
    frames = scene(23)
    _, back = read_back(frames)
    error = np.abs(back.astype(int) - frames)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 700
    assert error.mean() < 3.0
    assert error.max() <= 16
    still = np.ptp(frames, axis=0).max(axis=-1) == 0
    assert still.sum() > 200
    assert np.ptp(back[:, still], axis=0).max() == 0


def test_up_to_256_colours_come_back_exactly():
    random = np.random.default_rng(0)
    # Colours so close together that a fit would merge some.
    cube = np.stack(np.unravel_index(random.permutation(343), (7, 7, 7)), axis=-1)
    frames = cube[:256].astype(np.uint8)[random.integers(0, 256, (5, 17, 19))]
    np.testing.assert_array_equal(read_back(frames)[1], frames)


def test_a_strip_shows_evenly_chosen_frames_under_their_label():
    frames = scene(13)
    picture = media.strip({"linear": frames, "surfing": frames[:1]}, num_shown=4, scale=1)
    label, cell = media.LABEL_HEIGHT, 31 + media.GAP
    assert picture.shape == (2 * (label + 29 + media.GAP), 4 * cell, 3)
    for place, frame in enumerate(frames[[0, 4, 8, 12]]):
        shown = picture[label : label + 29, place * cell : (place + 1) * cell]
        np.testing.assert_array_equal(shown[:, :31], frame)
        assert shown[:, 31:].min() == 255
    assert picture[:label].min() < 100
    second = picture[2 * label + 29 + media.GAP :]
    np.testing.assert_array_equal(second[:29, :31], frames[0])
    assert second[:, cell:].min() == 255


def test_a_gif_of_shorter_frames_than_browsers_show_is_refused():
    with pytest.raises(UserError, match="at least 20"):
        media.gif(scene(2), frame_ms=19.0)


def test_what_is_less_than_half_opaque_is_left_out_of_a_gif_and_kept_by_a_png():
    colours = scene(3)
    opacity = np.zeros((*colours.shape[:3], 1), np.uint8)
    opacity[:, 5:20, 4:9], opacity[:, 5:20, 9:13] = 255, 100
    frames = np.concatenate([colours, opacity], axis=-1)
    with Image.open(io.BytesIO(media.gif(frames))) as film:
        for page, frame in zip(ImageSequence.Iterator(film), frames, strict=True):
            found = np.array(page.convert("RGBA"))
            np.testing.assert_array_equal(found[..., 3] > 0, frame[..., 3] >= 128)
            seen = frame[..., 3] == 255
            assert np.abs(found[seen, :3].astype(int) - frame[seen, :3]).mean() < 3
    with Image.open(io.BytesIO(media.apng(frames, frame_ms=40))) as film:
        pages = [np.array(page.convert("RGBA")) for page in ImageSequence.Iterator(film)]
        assert film.info["duration"] == 40
    np.testing.assert_array_equal(pages, frames)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_a_stack_of_any_channels_comes_back_in_its_own_type(dtype, tmp_path):
    frames = np.random.default_rng(0).uniform(0, 4000, (3, 7, 5, 2)).astype(dtype)
    media.write_stack(tmp_path / "a.tif", frames)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        series = file.series[0]
        assert (series.axes, series.dtype) == ("TCYX", dtype)
        np.testing.assert_array_equal(np.moveaxis(series.asarray(), 1, -1), frames)


def test_a_film_has_even_sides(tmp_path):
    frames = scene(25)
    media.write_film(tmp_path / "a.mp4", frames, frame_ms=40)
    back = iio.imread(tmp_path / "a.mp4", plugin="pyav")
    assert back.shape == (25, 30, 32, 3)  # of 29 x 31
    # A small ball of full colour, whose hue is kept at half the resolution.
    assert np.abs(back[:, :29, :31].astype(int) - frames).mean() < 8
    assert iio.immeta(tmp_path / "a.mp4", plugin="pyav")["fps"] == 25
