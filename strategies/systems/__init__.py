"""The built-in systems, one YAML file each, and the JSON schema of a system file."""
