"""K-Gen Explorer, the user interface. It never imports torch."""
