"""`python -m pyrovae COMMAND` is `pyrovae COMMAND`."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    # `python -m` looks in the current directory first. A file there must not take the place of
    # an installed module.
    if sys.path[0] == os.getcwd():
        sys.path.append(sys.path.pop(0))

    from pyrovae.commands.app import main

    main()
