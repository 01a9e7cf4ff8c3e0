"""What speed is held against: peers, measured in the same run."""
