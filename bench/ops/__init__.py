"""The ops beside the ways others take: one module for each op, each with ``cases(rounds)``."""
