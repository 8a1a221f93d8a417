"""The study: its configuration and tables, what happened to its sessions, what the group reads."""
