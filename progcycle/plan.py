"""``python -m progcycle.plan ...``, the same as ``progcycle plan ...``."""

import sys

from progcycle.commands.plan import main

if __name__ == "__main__":
    sys.exit(main())
