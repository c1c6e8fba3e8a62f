"""What happened: observed visits in the TIDES tables, and how good our word about them was."""
