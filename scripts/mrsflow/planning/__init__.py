"""A trial to be planned: its power and precision by simulation."""
