"""A user's own images: a folder of pictures, or a numpy file.

Whatever a picture file holds becomes three channels of eight bits: grey is repeated, a palette is
looked up, transparency is laid over white, 16-bit grey is rounded, and the camera's note of which
side is up is obeyed. To fit a square, a picture is cut to its centred square, then resized.

Of arrays of a gibibyte and more, a `.npy` file of uint8 RGB is mapped where it lies; any other is
converted once, into the cache.
"""

import io
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from jaxtyping import Shaped, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from jaxsurf import workdir
from jaxsurf.errors import UserError
from jaxsurf.images import pixels, storage
from jaxsurf.images.image_set import ImageSet
from jaxsurf.images.pixels import Images
from jaxsurf.images.storage import Member

Pixels = UInt8[np.ndarray, "height width 3"]
Array = Shaped[np.ndarray, "..."]

PICTURES = (".png", ".jpg", ".jpeg")
ARRAYS = (".npz", ".npy")


def open_path(
    path: Path, *, side: int | None = None, cache_dir: str | Path | None = None
) -> ImageSet:
    """Return the images of a folder of pictures or of a numpy file."""
    if path.is_dir():
        return _open_folder(path, side)
    if path.is_file() and path.suffix.lower() in ARRAYS:
        return _open_arrays(path, side, cache_dir)
    raise UserError(
        f"{path} is neither a folder nor a numpy file",
        cure="give a folder of PNG or JPEG files (the frames of a film), "
        f"or a file that is there and ends in {' or '.join(ARRAYS)}",
    )


def _open_folder(folder: Path, side: int | None) -> ImageSet:
    """Return a folder's pictures in natural order: 2.png before 10.png."""

    def natural(file: Path) -> list[tuple[int, int | str]]:
        parts = re.split(r"(\d+)", file.name.lower())
        # The name itself decides between names that differ in case or leading zeros only.
        keys = [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
        return [*keys, (2, file.name)]

    with workdir.failures_reported(f"read {folder}", cure="make it readable"):
        # Some systems leave hidden companions of the same suffix.
        found = [file for file in folder.iterdir() if file.suffix.lower() in PICTURES]
        found = [file for file in found if file.name[0] != "." and file.is_file()]
    if not found:
        raise UserError(f"{folder} holds no PNG or JPEG file", cure="choose another folder")
    found.sort(key=natural)
    images = [open_image(file, side=side) for file in found]
    for file, image in zip(found, images, strict=True):
        if image.shape != images[0].shape:
            raise UserError(
                f"{found[0].name} is {images[0].shape[:2]} but {file.name} is {image.shape[:2]}",
                cure="give a side to fit all images to",
            )
    return ImageSet(np.stack(images), name=f"folder {folder.name}")


def open_image(path: str | Path, *, side: int | None = None) -> Pixels:
    """Return the pixels of one picture file, in any format that Pillow reads."""
    path = Path(path)
    with workdir.failures_reported(f"read {path}", cure=""):
        data = path.read_bytes()
    return decode(data, origin=str(path), side=side)


def decode(data: bytes, *, origin: str, side: int | None = None) -> Pixels:
    """Return the pixels of an encoded picture, whose `origin` is for messages."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            rgb = _to_rgb(ImageOps.exif_transpose(image), origin)
    except UserError:
        raise
    except Exception as error:  # Pillow's are of many kinds for notes inside damaged pictures
        reason = "in no known format" if isinstance(error, UnidentifiedImageError) else error
        raise UserError(
            f"{origin} is not a picture that can be read ({reason})", cure="remove or replace it"
        ) from error
    return resize(np.asarray(rgb)[None], side)[0]


def _to_rgb(image: Image.Image, origin: str) -> Image.Image:
    if image.mode.startswith("I;16"):
        # 65535 / 257 is 255.
        eight = np.rint(np.asarray(image) / 257).astype(np.uint8)
        return Image.fromarray(eight).convert("RGB")
    if image.mode in ("I", "F"):
        raise UserError(
            f"{origin} holds 32-bit values, whose white is unknown", cure="save it with 8 bits"
        )
    if image.has_transparency_data:
        over = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(over, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")


def resize(images: Images, side: int | None) -> UInt8[np.ndarray, "image down along channel"]:
    """Return pictures fitted to a square; as they are if `side` is None or already theirs."""
    if side is None or images.shape[1:3] == (side, side):
        return images
    height, width = images.shape[1:3]
    edge = min(height, width)
    top, left = (height - edge) // 2, (width - edge) // 2
    # Cut first: a resize of a region would let in some of what lies around it.
    squares = images[:, top : top + edge, left : left + edge]
    method = Image.Resampling.LANCZOS
    return np.stack(
        [np.asarray(Image.fromarray(one).resize((side, side), method)) for one in squares]
    )


def _open_arrays(path: Path, side: int | None, cache_dir: str | Path | None) -> ImageSet:
    """Return the images, and where it has them the factors, of a numpy file."""
    try:
        rows, factors, names = _read(path)
    except storage.BROKEN as error:
        # The first line is what is wrong; those after it are numpy's advice to load pickles.
        reason = str(error).split("\n")[0]
        raise UserError(
            f"{path} cannot be read as plain arrays ({reason})",
            cure="save it with np.savez or np.save, without objects",
        ) from error

    def convert(some: Array) -> Images:
        return to_images(some, origin=str(path), side=side)

    def blocks() -> Iterator[Array]:
        return rows.chunks() if isinstance(rows, Member) else storage.chunks(rows)

    if isinstance(rows, np.ndarray) and not storage.is_mapped(rows):
        images = convert(rows)
    elif rows.fortran_order if isinstance(rows, Member) else not rows.flags.c_contiguous:
        raise UserError(
            f"{path} is large and in Fortran order: each image is scattered over the whole file",
            cure="save it in C order, with np.ascontiguousarray",
        )
    else:
        first = convert(next(blocks())[:1])
        if isinstance(rows, np.ndarray) and np.may_share_memory(first, rows):
            images = rows
        else:
            images = storage.cached(
                lambda: map(convert, blocks()),
                shape=(rows.shape[0], *first.shape[1:]),
                name=f"own-{workdir.fingerprint(str(path.resolve()), f'side {side}')}",
                made_of=storage.identity(path),
                folder=cache_dir,
            )
    return ImageSet(images, name=path.name, factors=factors, factor_names=names)


def _read(path: Path) -> tuple[Array | Member, Array | None, tuple[str, ...]]:
    """Return images, factors and their names as a file has them; large images are not read."""
    # Opened here, since numpy leaves a damaged .npz file open.
    with path.open("rb") as file:
        is_npy = file.read(6) == np.lib.format.MAGIC_PREFIX
        file.seek(0)
        if is_npy and path.stat().st_size > storage.LARGE_BYTES:
            return np.load(path, mmap_mode="r"), None, ()
        loaded = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded, None, ()
        candidates = [name for name in loaded.files if name not in ("factors", "factor_names")]
        if "images" not in candidates and len(candidates) != 1:
            raise UserError(
                f"{path} holds {', '.join(loaded.files) or 'no array'}, "
                "so which of them is images is unclear",
                cure="call the array 'images'",
            )
        name = "images" if "images" in candidates else candidates[0]
        assert loaded.zip is not None, "it is open"
        sizes = {one.filename: one.file_size for one in loaded.zip.infolist()}
        large = sizes.get(f"{name}.npy", 0) > storage.LARGE_BYTES
        rows = Member.inspect(path, name) if large else loaded[name]
        if isinstance(rows, bytes):
            raise ValueError(f"its member {name} is no array")
        return rows, loaded.get("factors"), _factor_names(path, loaded)


def _factor_names(path: Path, arrays: Mapping[str, Array]) -> tuple[str, ...]:
    factors, names = arrays.get("factors"), arrays.get("factor_names")
    if factors is None:
        return ()
    if factors.ndim != 2 or factors.dtype.kind not in "iuf" or not np.isfinite(factors).all():
        raise UserError(
            f"the factors in {path}, {factors.dtype}{factors.shape}, are no finite numbers",
            cure="give numbers, one row an image and one column a factor",
        )
    if names is None:
        return tuple(f"factor_{i}" for i in range(factors.shape[1]))
    return tuple(map(str, np.atleast_1d(names)))


def to_images(rows: Array, *, origin: str, side: int | None) -> Images:
    """Return an array as images, fitted to a square: floats from [0, 1], grey repeated."""
    if np.issubdtype(rows.dtype, np.floating):
        low, high = (float(rows.min()), float(rows.max())) if rows.size else (0.0, 0.0)
        if not (low >= 0 and high <= 1):  # also true of NaN; another range's white is a guess
            raise UserError(
                f"{origin} holds floats from {low:g} to {high:g}, but floats must lie in [0, 1]",
                cure="scale them, or save uint8",
            )
        rows = np.rint(rows * pixels.PEAK).astype(np.uint8)
    grey = rows.ndim == 3 and rows.shape[-1] not in (1, 3, 4)
    if grey or (rows.ndim == 4 and rows.shape[-1] == 1):
        rows = np.repeat(rows.reshape(*rows.shape[:3], 1), 3, axis=-1)
    return resize(pixels.check(rows, origin=origin), side)
