"""`demo://`: people who are drawn, so that everything can be tried without a camera."""
