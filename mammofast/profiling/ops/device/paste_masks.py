PEERS = (1,)
CASES = {"paste_masks": 1}
SMALL = {}
