"""The study: its configuration, tables and names, its rules, what happened to its sessions, the trial they make."""
