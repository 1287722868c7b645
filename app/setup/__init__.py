"""The form and the choices it offers."""
