"""A national archive in one night: the real scheduling, with work that only takes its time."""
