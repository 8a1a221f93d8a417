"""Files of scanners as they lie on disk: which belong to a scan, and what their headers say."""
