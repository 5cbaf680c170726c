"""``python -m progcycle NAME ...``, the same as ``progcycle NAME ...``."""

import sys

from progcycle.commands.cli import main

if __name__ == "__main__":
    sys.exit(main())
