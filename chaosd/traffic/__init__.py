"""The generator that sends envelopes on schedule and the tap that reads the topics back; each a process of its own."""
