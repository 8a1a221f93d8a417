"""From block tables to contrasts: mixed models, designs, guards, sensitivity, power."""
