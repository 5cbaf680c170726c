"""``python -m progcycle.progression ...``, the same as ``progcycle progression ...``."""

import sys

from progcycle.commands.progression import main

if __name__ == "__main__":
    sys.exit(main())
