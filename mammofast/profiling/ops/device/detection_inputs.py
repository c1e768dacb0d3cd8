PEERS = (1,)
CASES = {"detection_inputs": 1}
SMALL = {}
