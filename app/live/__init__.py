"""The snapshot of the current run: a fold over its events, and the words for it."""
