"""``python -m progcycle.translate ...``, the same as ``progcycle translate ...``."""

import sys

from progcycle.commands.translate import main

if __name__ == "__main__":
    sys.exit(main())
