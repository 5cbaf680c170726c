"""``python -m progcycle.generate ...``, the same as ``progcycle generate ...``."""

import sys

from progcycle.commands.generate import main

if __name__ == "__main__":
    sys.exit(main())
