"""Runs launch scripts as the shell would, each in a process of its own, without start-up time.

    python launcher.py

It imports the libraries that the scripts import, once. For each line on standard input, the JSON
of `script`, `flags`, `folder`, `out` and `err` (files for the two outputs), it forks; the child
becomes the script, so flags, signals and exit are its own. The answer is a line with the status
of the process when it has ended (negative: the signal that ended it).

Three more are optional: `cache`, a folder for compiled programs; `most`, the size in bytes that no
file may exceed, as on a full disk; and `kill`: with `pattern`, `number` and `by`, the process gets
a signal just before the n-th change of a file that the pattern matches, such as `os.rename
.*/config.json`.
"""

import importlib
import json
import os
import re
import resource
import runpy
import signal
import sys
import traceback
import warnings
from pathlib import Path

import jax

# Not jaxsurf itself, which takes part of a second: it is imported by each script, as it would be.
IMPORTED = "flax.nnx igraph matplotlib.pyplot ml_collections.config_flags optax orbax.checkpoint"
IMPORTED += " scipy.spatial tensorboardX tensorflow_datasets"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("open", "os.mkdir", "os.rename", "os.remove", "os.rmdir", "shutil.rmtree")


def kill_at(pattern, number=1, by=signal.SIGKILL):
    """Have the process get a signal where the interpreter is about to change files."""
    seen = 0

    def look(event, arguments):
        nonlocal seen
        if event not in CHANGES or (event == "open" and not arguments[2] & WRITES):
            return
        paths = [
            os.fsdecode(each) for each in arguments if isinstance(each, str | bytes | os.PathLike)
        ]
        if re.match(pattern, " ".join([event, *paths])):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), by)

    sys.addaudithook(look)


def become(script, flags, folder, out, err, cache=None, most=None, kill=None):
    for path, number in ((out, 1), (err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(folder)
    if cache:
        jax.config.update("jax_compilation_cache_dir", cache)
    if most:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    if kill:
        kill_at(**kill)
    sys.argv = [script, *flags]
    sys.path[0] = str(Path(script).parent)
    try:
        runpy.run_path(script, run_name="__main__")
        status = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:  # noqa: BLE001  (it is shown, as the interpreter would)
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Libraries lost their threads in the fork and crash when the interpreter takes them down.
    os._exit(status)


def serve():
    while line := sys.stdin.readline():
        process = os.fork()
        if not process:
            return json.loads(line)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])}\n")
        sys.stdout.flush()
    return None


if __name__ == "__main__":
    for name in IMPORTED.split():
        importlib.import_module(name)
    # JAX warns of forks; no device is in use before one.
    warnings.filterwarnings("ignore", message=r"os\.fork\(\) was called", category=RuntimeWarning)
    request = serve()
    # Outside of `serve`, so that a traceback shows the script alone.
    if request is not None:
        become(**request)
