"""The paper's tables, run by run, and their results."""
