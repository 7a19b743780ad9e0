"""What things are. Frozen models and dataclasses only: nothing here reads a file, a clock or a cloud."""
