"""What the daemon knows of itself: counts, the state of each stream, whether its loops run."""
