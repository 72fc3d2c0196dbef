"""`affectd bench`: how many cameras and faces this machine carries."""
