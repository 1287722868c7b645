"""Sweeps: the runs of a grid of recipe fields and seeds, done by any number of processes."""
