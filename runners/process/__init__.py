"""What a process of keel's has from its machine: an event loop, an environment, signals, private files, a state folder."""
