"""What a service needs around its streams: checks before start, signals, log, systemd, reload,
clean-up."""
