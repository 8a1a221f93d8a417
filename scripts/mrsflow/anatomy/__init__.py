"""Anatomical images."""
