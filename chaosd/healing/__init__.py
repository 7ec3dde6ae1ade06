"""What chaosd broke is mended here, whoever died: leases on disk, the watchdog, the ladder of undoing, the switch."""
