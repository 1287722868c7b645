"""Any run's images and numbers, read from its folder."""
