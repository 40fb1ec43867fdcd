"""`python -m idgen`."""

import sys

from idgen.cli import main

if __name__ == "__main__":
    sys.exit(main())
