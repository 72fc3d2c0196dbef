"""The configuration: its schema, and how a TOML file becomes settings."""
