"""State dicts of other people's files, with their keys turned into ours."""
