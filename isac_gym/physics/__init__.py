"""Physics shared by all problems: arrays, channels, interference, radar, estimation."""
