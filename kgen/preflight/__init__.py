"""A user's own teacher: examined without trust, matched to a network, and registered."""
