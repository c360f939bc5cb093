"""What each command does, whoever asks: the command line, the interface for programs, or an alert."""
