"""Coils and transients of a session to clean blocks relative to the dose, with their quality."""
