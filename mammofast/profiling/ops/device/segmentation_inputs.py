PEERS = (1,)
CASES = {"segmentation_inputs": 1}
SMALL = {}
