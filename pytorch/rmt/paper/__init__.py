"""What the paper says, as data; nothing here imports anything but the standard library."""
