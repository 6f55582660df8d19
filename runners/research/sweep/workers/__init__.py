"""Where a sweep's points are run: by which engine, in which process, on what data."""
