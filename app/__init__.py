"""K-Gen Explorer, the app that people see. It never imports torch."""
