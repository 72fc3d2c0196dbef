"""What a service needs around its streams: checks before start, log, systemd, reload, clean-up."""
