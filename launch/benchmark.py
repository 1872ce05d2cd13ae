"""Time stages of the pipeline, each beside what one could use instead.

    python launch/benchmark.py --suite=decode --out=runs/benchmarks

The table is printed, and after every row written to benchmarks.json and benchmarks.md. The same
command again measures what is missing there.
"""

from pathlib import Path

from absl import flags

from jaxsurf.pipeline import cli

_SUITE = flags.DEFINE_string(
    "suite", "all", "Which rows to measure: graph, decode, train, sweep, full, or all but full."
)
_OUT = cli.define_string("out")


def main() -> object:
    """Measure."""
    from jaxsurf.pipeline.benchmark import suites

    return suites.run(_SUITE.value, Path(_OUT.value))


if __name__ == "__main__":
    cli.run(main)
