"""``python -m progcycle.study ...``, the same as ``progcycle study ...``."""

import sys

from progcycle.commands.study import main

if __name__ == "__main__":
    sys.exit(main())
