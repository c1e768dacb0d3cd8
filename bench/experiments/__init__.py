"""The papers' comparisons of systems made again on phantoms: which conclusions hold there? README.md says it."""
