"""The ground floor: values and rules that every room may use. No I/O but in clock.py and bundled.py."""
