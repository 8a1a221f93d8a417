"""The command ``mrsflow``: a study begun, checked, run and read from any folder."""
