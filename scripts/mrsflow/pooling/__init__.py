"""More than one trial: finished studies and published ones together."""
