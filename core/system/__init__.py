"""A system: what a run is made of, as types, rules between keys, and YAML with its lines."""
