"""Our model beside the report's: same images, same training time, several seeds, two latent sizes.

    python launch/compare.py --workdir=runs/compare

The same command again resumes. The table is printed and written to comparison.md.
"""

from jaxsurf.pipeline import cli, configuration
from jaxsurf.pipeline.compare import CompareConfig, compare

_WORKDIR = cli.define_string("workdir")
_OURS = cli.define_config("config", "arm.py")
_REFERENCE = cli.define_config("reference", "reference.py")
_REST = cli.define_fields(CompareConfig)


def main() -> object:
    ours, reference = (configuration.from_dict(read()) for read in (_OURS, _REFERENCE))
    return compare(CompareConfig(ours=ours, reference=reference, **_REST()), _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
