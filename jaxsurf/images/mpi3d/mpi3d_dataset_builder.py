"""MPI3D for TensorFlow Datasets, without TensorFlow.

    import tensorflow_datasets as tfds
    from jaxsurf.images.mpi3d.mpi3d_dataset_builder import Builder

    builder = Builder(config="mpi3d_toy")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir="folder of mpi3d_toy.npz")
    )

Where the file is not there, the archive is downloaded. `checksums.tsv` holds no digest of the
archives: the reader's checks of type, shape and size stand in.

Not a `GeneratorBasedBuilder`, which writes a split of more than a gigabyte with TensorFlow first,
and sorts it in memory.
"""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from jaxsurf.images import mpi3d
from jaxsurf.images.image_set import MPI3D, Grid

Example = tuple[int, dict[str, Any]]


# TFDS's own class is not frozen, and compares by identity.
@dataclass(eq=False, kw_only=True)
class Mpi3dConfig(tfds.core.BuilderConfig):
    """One rendering of the grid."""

    grid: Grid = MPI3D
    side: int = 64
    num_shards: int = 128  # TFDS keeps one in memory until it is written: 8,100 images, 100 MB


class Builder(tfds.core.ShardBasedBuilder):
    """Images of a robot arm under all combinations of seven factors, in the archive's order."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}
    BUILDER_CONFIGS: ClassVar[list[Mpi3dConfig]] = [
        Mpi3dConfig(name="mpi3d_toy", description="Drawn by a simple renderer."),
        Mpi3dConfig(name="mpi3d_realistic", description="Drawn by a photorealistic renderer."),
        Mpi3dConfig(name="mpi3d_real", description="Photographed."),
    ]
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Optional: put CONFIG.npz (mpi3d_toy.npz) into manual_dir to use it instead of a download."
    )

    def __init__(self, *, file_format: str = "array_record", **kwargs: Any) -> None:  # noqa: ANN401
        # TFDS defaults to TFRecord, which only TensorFlow writes and reads.
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        config: Any = self.builder_config  # one of ours
        grid, shape = config.grid, (config.side, config.side, 3)
        # The axes have no names for their values, only a number of them.
        labels = {
            name: tfds.features.ClassLabel(names=list(grid.labels[name]))
            if name in grid.labels
            else tfds.features.ClassLabel(num_classes=size)
            for name, size in zip(grid.names, grid.sizes, strict=True)
        }
        # features.Image would encode with TensorFlow.
        zlib = tfds.features.Encoding.ZLIB
        image = tfds.features.Tensor(shape=shape, dtype=np.uint8, encoding=zlib)
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict({"index": np.int64, "image": image, **labels}),
            homepage="https://github.com/rr-learning/disentanglement_dataset",
            license="CC BY 4.0",
            disable_shuffling=True,
        )

    def _shard_iterators_per_split(
        self, dl_manager: tfds.download.DownloadManager
    ) -> Mapping[str, Sequence[Callable[[], Iterator[Example]]]]:
        # All pass through the archive once: TFDS writes shards one after the other, in order, and
        # each takes up where the last one ended.
        config: Any = self.builder_config
        grid, num_shards, file = config.grid, config.num_shards, None
        # TFDS raises AssertionError where there is no such folder, or nothing in it.
        with contextlib.suppress(AssertionError):
            file = Path(dl_manager.manual_dir) / f"{config.name}.npz"
        if file is None or not file.exists():
            file = Path(dl_manager.download(mpi3d.URL.format(config.name)))
        whole = mpi3d.inspect(file, num_images=len(grid))

        def numbered() -> Iterator[Example]:
            for number, image in enumerate(itertools.chain.from_iterable(whole.chunks())):
                values = map(int, np.unravel_index(number, grid.sizes))
                labels = dict(zip(grid.names, values, strict=True))
                yield number, {"index": number, "image": image, **labels}

        examples = numbered()
        ends = [len(grid) * shard // num_shards for shard in range(num_shards + 1)]
        sizes = [end - start for start, end in itertools.pairwise(ends)]
        return {"train": [functools.partial(itertools.islice, examples, size) for size in sizes]}
