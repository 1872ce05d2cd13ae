"""All 1,036,800 images of MPI3D: seven factors, an 8-D latent space, the `smooth` model.

    python launch/train.py --config=configs/mpi3d_full.py --config.data.path=mpi3d_toy.npz \
        --workdir=runs/mpi3d_full
    python launch/surf.py --workdir=runs/mpi3d_full --source=14400 --target=1036799

The images, 12.7 GB, are mapped from the file, which has to hold them uncompressed, or else are
unpacked into the cache once (XDG_CACHE_HOME names a folder on a larger disk). An epoch is 2,025
steps of 512 images, a quarter of an hour to half an hour on two cores.
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config() -> ConfigDict:
    return cli.make_config(experiments.ALL_FACTORS)
