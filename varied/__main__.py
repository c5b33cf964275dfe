"""``python -m varied`` is the command ``varied``."""

import sys

from varied.cli import main

if __name__ == "__main__":
    sys.exit(main())
