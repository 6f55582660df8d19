"""The sandbox's WebSockets: connections, channels, and the frames of public and private topics."""
