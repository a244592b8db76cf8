"""What is predicted for f-DPO."""
