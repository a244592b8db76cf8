"""What transport theory predicts for AOT."""
