"""Sweeps: one system under many parameter sets, over symbols, timeframes and windows.

space -> search -> points -> an evaluator (processes, kernel threads or Ray) -> the study (DuckDB) -> table, heat map, robust region.
"""
