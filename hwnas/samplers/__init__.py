"""What proposes architectures to a study."""
