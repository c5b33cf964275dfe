"""Run the command ``varied`` with ``python -m varied``."""

import sys

from varied.cli import main

if __name__ == "__main__":
    sys.exit(main())
