#!/usr/bin/env python3
"""Start K-Gen Explorer from its folder: `python launch.py`. Installed, it is `kgen-explorer`."""

import sys

from app.launch import main

if __name__ == "__main__":
    sys.exit(main())
