"""Time stages of the pipeline, each beside what one could use instead.

    python launch/benchmark.py --suite=decode --out=runs/benchmarks

The table is printed, and after every row written to benchmarks.json and benchmarks.md. The same
command again measures what is missing there.
"""

from absl import flags

from jaxsurf.pipeline.benchmark import suites
from jaxsurf.pipeline.command import options, script

_SUITE = flags.DEFINE_enum("suite", suites.ALL, suites.names(), "Which rows to measure.")
_OUT = options.define_out()


def main() -> object:
    """Measure."""
    return suites.run(_SUITE.value, _OUT())


if __name__ == "__main__":
    script.run(main)
