"""What one command of `affectd` does: a file or folder each. The daemon loads nothing of it."""
