"""What has nothing to do with models: errors, files, signals, randomness, processes."""
