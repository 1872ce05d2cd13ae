"""MPI3D's own images: two or three degrees of freedom, a 2-D or 3-D latent space.

    python launch/train.py --config=configs/mpi3d.py --config.data.path=mpi3d_toy.npz \
        --workdir=runs/mpi3d

An argument after a colon chooses a variant: `configs/mpi3d.py:2d` (the default, the report's 1,600
images), `:3d` (the same with a 3-D latent space), `:camera_height` and `:background_color` (that
factor free as well, 4,800 images, a 3-D latent space).
"""

from ml_collections import ConfigDict

from jaxsurf.errors import UserError
from jaxsurf.pipeline import cli, experiments

VARIANTS = {"2d": {}, "3d": {"model.latent_dim": 3}}
VARIANTS |= {name: experiments.third_factor(name) for name in ("camera_height", "background_color")}


def get_config(variant: str = "2d") -> ConfigDict:
    if variant not in VARIANTS:
        cure = f"take one of {', '.join(VARIANTS)}"
        raise UserError(f"configs/mpi3d.py has no variant {variant!r}", cure=cure)
    return cli.make_config({"data.source": "mpi3d_toy", **VARIANTS[variant]})
