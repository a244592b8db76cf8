"""What a recipe needs in memory and work, before anything is downloaded."""
