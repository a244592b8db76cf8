"""What is predicted for DDRO, RDRO and their rivals."""
