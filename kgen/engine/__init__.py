"""A run: synthesize batches, train a student on them. Yields events and writes nothing."""
