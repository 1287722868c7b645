"""K-Gen Explorer, what people see. It never imports torch."""
