"""What every room may use; it uses none of them."""
