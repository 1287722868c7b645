"""Sweeps: the runs of a grid of recipe fields and seeds, executed by any number of processes."""
