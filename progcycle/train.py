"""``python -m progcycle.train ...``, the same as ``progcycle train ...``."""

import sys

from progcycle.commands.train import main

if __name__ == "__main__":
    sys.exit(main())
