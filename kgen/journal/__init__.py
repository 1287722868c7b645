"""Run folders: written, read, followed, bundled, and exported."""

from kgen.journal.reading import open_run as open_run
