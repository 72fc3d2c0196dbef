"""What the daemon shows over HTTP: the page, metrics, health, pictures and readings."""
