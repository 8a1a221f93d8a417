"""Basis sets: simulated by density matrix, or read from the files of other programs."""
