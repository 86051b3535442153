"""``python -m hpcpgd``: the console command."""

import sys

from hpcpgd.cli.console import main

sys.exit(main())
