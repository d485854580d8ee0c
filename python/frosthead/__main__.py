"""Owns the command ``frosthead``: the program, in this process."""

import os
import signal
import sys

from ._frosthead import run_command
from ._onnxruntime import VARIABLE, folder


def main() -> int:
    """Runs the program with this process's arguments, and gives its exit code."""
    library = folder()
    if library is not None:
        os.environ[VARIABLE] = library
    # The program has its own ways with an interrupt; Python's would wait for the program's end.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
