"""What do the pictures show: one folder per family of classifiers."""
