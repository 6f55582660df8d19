"""Invented market history for trying things on: realistic in its habits, the same from the same seed, and labelled synthetic."""

from keel.adapters.synthetic.sample import SOURCE, SyntheticSample, SyntheticSeries, generate_sample

__all__ = ["SOURCE", "SyntheticSample", "SyntheticSeries", "generate_sample"]
