"""Run folders: write, read, follow, bundle and export them."""

from kgen.journal.reading import open_run as open_run
