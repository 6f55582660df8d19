"""A strategy's life: epochs, runs that are kept, what they are made of, promotion."""
