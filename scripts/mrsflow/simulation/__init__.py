"""Sessions and whole trials of known truth, as arrays and as raw scanner files."""
