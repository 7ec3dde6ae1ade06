"""DLQ dialects: how a dead letter says where it comes from and what was wrong. One file each."""
