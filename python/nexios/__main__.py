"""``python -m nexios`` is the command ``nexios``."""

import sys

from nexios.cli import main

sys.exit(main())
