"""The commands, each short: parse, call, print."""
