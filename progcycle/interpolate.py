"""``python -m progcycle.interpolate ...``, the same as ``progcycle interpolate ...``."""

import sys

from progcycle.commands.interpolate import main

if __name__ == "__main__":
    sys.exit(main())
