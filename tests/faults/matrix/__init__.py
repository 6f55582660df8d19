"""Thirty faults by twelve moments: whole sessions in virtual time, each followed by the checker."""
