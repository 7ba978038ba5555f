"""What a guide's posterior says: as tables first, then as figures, then as a report."""
