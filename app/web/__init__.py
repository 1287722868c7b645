"""The generic parts of the web server: answers, limits, roles, addresses, uploads."""
