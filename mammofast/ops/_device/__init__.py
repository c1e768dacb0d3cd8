"""The functions of mammofast.ops.device, a file for each family."""
