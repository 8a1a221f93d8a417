"""The trial: from block tables to contrasts, what stands beside them, and who was lost."""
