"""Models of tables that know no trial: mixed models, session-level models, permutation tests."""
