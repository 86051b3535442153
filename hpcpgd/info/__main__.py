"""``python -m hpcpgd.info``."""

import sys

from hpcpgd.info.cli import main

if __name__ == "__main__":
    sys.exit(main())
