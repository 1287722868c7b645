"""The web server without the product: answers, limits, roles, addresses, uploads."""
