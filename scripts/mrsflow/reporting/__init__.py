"""Figures, pages, and methods text."""
