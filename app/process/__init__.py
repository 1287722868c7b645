"""Runs and checks as child processes, followed through their folders."""
