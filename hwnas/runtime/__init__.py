"""Run a bundle on a device: answer early, change operating points, keep to an energy budget."""
