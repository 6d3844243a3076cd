"""cenote's pools on a real Redis: by themselves, and as drop-in pools under redis-py's client."""
