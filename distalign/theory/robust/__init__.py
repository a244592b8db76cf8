"""What is predicted for KLDPO and WDPO."""
