"""What a command prints in a terminal: tables and sentences of whole words."""
