"""Files, folders and the Hub become rows."""
