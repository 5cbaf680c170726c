"""``python -m progcycle.evaluate ...``, the same as ``progcycle evaluate ...``."""

import sys

from progcycle.commands.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
