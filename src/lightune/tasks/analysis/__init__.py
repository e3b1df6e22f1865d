"""What a report says of the test rows of each kind of task."""
