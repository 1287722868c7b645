"""A run: synthesize batches and train a student on them. Yields events and writes nothing."""
