"""Networks by name, what they cost, and whether one can be used here."""
