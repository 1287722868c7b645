"""Routes and pages: where everything else meets the browser."""
