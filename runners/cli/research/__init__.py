"""The commands of research: backtests, sweeps, checks, data, systems, runs."""
