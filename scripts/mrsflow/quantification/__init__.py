"""Fits as results of a session: the fitters there are, amounts by water, tables and files."""
