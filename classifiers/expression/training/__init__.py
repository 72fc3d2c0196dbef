"""Train an expression net. Nothing here is loaded by the daemon."""
