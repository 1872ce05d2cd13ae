import numpy as np
import pytest
from PIL import Image, ImageSequence

from jaxsurf.errors import UserError
from jaxsurf.frames import media


def scene(num_frames, height=29, width=31):
    """A ball of changing colour on a smooth background: more than 256 colours."""
    y, x = np.mgrid[:height, :width]
    frames = np.empty((num_frames, height, width, 3), np.uint8)
    for i in range(num_frames):
        frames[i] = np.stack([4 * x, 3 * y + 50, 2 * x + 2 * y], axis=-1)
        ball = (x - 3 - i) ** 2 + (y - 14) ** 2 < 30
        frames[i, ball] = (200, 4 * i, 255 - 3 * i)
    return frames


def read_back(path):
    with Image.open(path) as image:
        pages = [
            (page.info["duration"], page.convert("RGB")) for page in ImageSequence.Iterator(image)
        ]
        loop = image.info.get("loop")
    return (
        [duration for duration, _ in pages],
        np.stack([np.array(page) for _, page in pages]),
        loop,
    )


@pytest.mark.parametrize(("num_frames", "frame_ms"), [(55, 60.0), (7, 33.3), (13, 25.0), (1, 47.0)])
def test_total_duration_is_exact_to_a_tick(tmp_path, num_frames, frame_ms):
    media.write_gif(tmp_path / "a.gif", scene(num_frames), frame_ms=frame_ms)
    durations, _, _ = read_back(tmp_path / "a.gif")
    assert abs(sum(durations) - num_frames * frame_ms) <= 5


def test_a_gif_repeats_for_ever(tmp_path):
    media.write_gif(tmp_path / "a.gif", scene(2))
    assert read_back(tmp_path / "a.gif")[2] == 0


def test_rounding_of_durations_does_not_add_up():
    durations = media.durations_ms(301, frame_ms=33.3)
    np.testing.assert_allclose(np.cumsum(durations), 33.3 * np.arange(1, 302), atol=5)
    assert set(durations) == {30, 40}


@pytest.mark.parametrize("pattern", [[0, 1, 1, 1, 2, 2], [0, 0, 0], [0, 1, 0, 0]])
def test_equal_frames_keep_the_total_duration(tmp_path, pattern):
    media.write_gif(tmp_path / "a.gif", scene(3)[pattern], frame_ms=70.0)
    durations, _, _ = read_back(tmp_path / "a.gif")
    assert sum(durations) == 70 * len(pattern)


def test_colours_come_back_within_the_palette_error(tmp_path):
    frames = scene(23)
    media.write_gif(tmp_path / "a.gif", frames)
    _, back, _ = read_back(tmp_path / "a.gif")
    error = np.abs(back.astype(int) - frames)
    assert len(np.unique(frames.reshape(-1, 3), axis=0)) > 700
    assert error.mean() < 3.0
    assert error.max() <= 16


def test_up_to_256_colours_come_back_exactly(tmp_path):
    random = np.random.default_rng(0)
    # Colours so close together that a fit would merge some.
    cube = np.stack(np.unravel_index(random.permutation(343), (7, 7, 7)), axis=-1)
    palette = cube[:256].astype(np.uint8)
    frames = palette[random.integers(0, 256, (5, 17, 19))]
    media.write_gif(tmp_path / "a.gif", frames)
    _, back, _ = read_back(tmp_path / "a.gif")
    np.testing.assert_array_equal(back, frames)


def test_what_stands_still_does_not_flicker(tmp_path):
    frames = scene(17)
    media.write_gif(tmp_path / "a.gif", frames)
    _, back, _ = read_back(tmp_path / "a.gif")
    still = np.ptp(frames, axis=0).max(axis=-1) == 0
    assert still.sum() > 200
    assert np.ptp(back[:, still], axis=0).max() == 0


def test_pixels_get_their_nearest_palette_colours():
    frames = scene(7)
    palette, indices = media.quantise(frames)
    distances = np.square(frames.reshape(-1, 1, 3).astype(int) - palette[None].astype(int)).sum(
        axis=-1
    )
    chosen = distances[np.arange(len(distances)), indices.ravel()]
    assert np.mean(chosen == distances.min(axis=1)) > 0.999
    assert len(palette) <= 256


def test_the_palette_is_better_than_a_median_cut():
    frames = scene(23)
    palette, indices = media.quantise(frames)
    cut = Image.fromarray(frames.reshape(-1, 31, 3)).quantize(256, dither=Image.Dither.NONE)
    rough = np.asarray(cut.convert("RGB")).reshape(frames.shape)
    errors = [np.square(some.astype(float) - frames).mean() for some in (palette[indices], rough)]
    assert errors[0] < 0.95 * errors[1]


def test_one_frame_is_an_animation(tmp_path):
    media.write_gif(tmp_path / "a.gif", scene(1))
    with Image.open(tmp_path / "a.gif") as image:
        assert image.size == (31, 29)


def test_png_is_lossless(tmp_path):
    media.write_png(tmp_path / "deep" / "a.png", scene(1)[0])
    with Image.open(tmp_path / "deep" / "a.png") as image:
        np.testing.assert_array_equal(np.array(image), scene(1)[0])


def test_a_strip_shows_evenly_chosen_frames_under_their_label():
    frames = scene(13)
    picture = media.strip({"linear": frames, "surfing": frames[:1]}, num_shown=4, scale=1)
    cell = 31 + media.GAP
    assert picture.shape == (2 * (media.LABEL_HEIGHT + 29 + media.GAP), 4 * cell, 3)
    for place, frame in enumerate(frames[[0, 4, 8, 12]]):
        shown = picture[media.LABEL_HEIGHT :][:29, place * cell :][:, :31]
        np.testing.assert_array_equal(shown, frame)
        assert (
            picture[media.LABEL_HEIGHT :][:29, place * cell + 31 : (place + 1) * cell].min() == 255
        )
    assert picture[: media.LABEL_HEIGHT].min() < 100
    second = picture[2 * media.LABEL_HEIGHT + 29 + media.GAP :]
    np.testing.assert_array_equal(second[:29, :31], frames[0])
    assert second[:, cell:].min() == 255


def test_a_strip_can_be_enlarged():
    frames = scene(2)
    picture = media.strip({"a": frames}, scale=3)
    np.testing.assert_array_equal(picture[media.LABEL_HEIGHT :][:87:3, :93:3], frames[0])


@pytest.mark.parametrize("frame_ms", [19.0, 0.0, np.nan, np.inf])
def test_frames_too_short_to_be_shown_are_refused(tmp_path, frame_ms):
    with pytest.raises(UserError, match="20 ms or more"):
        media.write_gif(tmp_path / "a.gif", scene(2), frame_ms=frame_ms)


@pytest.mark.parametrize("frames", [scene(2)[:0], scene(2)[0], scene(2) / 255.0, scene(2)[..., :1]])
def test_what_is_no_frames_is_refused(tmp_path, frames):
    with pytest.raises(UserError, match="uint8 frames"):
        media.write_gif(tmp_path / "a.gif", frames)


def test_a_strip_of_nothing_is_refused():
    with pytest.raises(UserError, match="at least one"):
        media.strip({})
