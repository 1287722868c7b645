"""A user-supplied teacher: checked without trusting it, matched to a network, and registered."""
