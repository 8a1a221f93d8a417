"""Linear-combination fit of blocks: model, search, uncertainty, quantities."""
