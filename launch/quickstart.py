"""See everything once: train on the robot arm, animate, measure. Five minutes on two cores.

python launch/quickstart.py
"""

from jaxsurf.pipeline import cli

_WORKDIR = cli.define_string("workdir", "runs/quickstart")


def main() -> object:
    from jaxsurf.pipeline import configuration, experiments, quickstart

    return quickstart.quickstart(configuration.from_dotted(experiments.ARM), _WORKDIR.value)


if __name__ == "__main__":
    cli.run(main)
