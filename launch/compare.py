"""Our model beside the report's: same images, same training time, several seeds, two latent sizes.

    python launch/compare.py --workdir=runs/compare

The same command again resumes. The table is printed and written to comparison.md.
"""

from absl import flags

from jaxsurf.pipeline.command import options, script
from jaxsurf.pipeline.compare import CompareConfig, compare

_WORKDIR = options.define_workdir()
_OURS = options.define_config("config", "arm.py")
_REFERENCE = options.define_config("reference", "reference.py")
_LATENT_DIMS = options.define_numbers("latent_dims", (2, 3), "Latent sizes.")
_SEEDS = options.define_numbers("seeds", (0, 1, 2), "Random seeds of our model.")
_NUM_PAIRS = flags.DEFINE_integer("num_pairs", 100, "Random pairs of each evaluation.")


def main() -> object:
    """Compare."""
    config = CompareConfig(
        ours=_OURS(),
        reference=_REFERENCE(),
        latent_dims=_LATENT_DIMS(),
        seeds=_SEEDS(),
        num_pairs=_NUM_PAIRS.value,
    )
    return compare(config, _WORKDIR())


if __name__ == "__main__":
    script.run(main)
