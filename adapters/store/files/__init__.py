"""Files as people have them: what is unpacked, which format it is, where the names of its columns stand, and its cells as a table."""
