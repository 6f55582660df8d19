"""What carries messages from part to part, and time: the bus, the clock, the ports that adapters fill."""
