"""Real servers for the tests: private instances on free ports, in temporary directories of their own."""
