"""The command ``keel``: thin faces of the tools."""
