"""What is wrong with the rows of a data set, and which rows are worth a label."""
