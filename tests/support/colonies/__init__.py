"""A double of a Colonies server of version 1.9.12: what it says, and every defect of it that matters here."""
