"""``python -m progcycle.project ...``, the same as ``progcycle project ...``."""

import sys

from progcycle.commands.project import main

if __name__ == "__main__":
    sys.exit(main())
