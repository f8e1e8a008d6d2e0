"""`python -m refmicro` is the `refmicro` command."""

import sys

from refmicro.cli.main import main

sys.exit(main())
