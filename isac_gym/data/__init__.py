"""Real image sets: read from a folder, verified, fetched on request."""
