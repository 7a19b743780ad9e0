"""The local provider: a simulated cloud with real bytes, and the block repository that keeps their backups."""
