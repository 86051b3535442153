"""``python -m hpcpgd.doctor``."""

import sys

from hpcpgd.doctor.cli import main

if __name__ == "__main__":
    sys.exit(main())
