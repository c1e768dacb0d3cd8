"""What ``mammofast bench`` runs: where the time goes, and how far it is from what the machine allows."""
