"""Real parts (Redis, Kafka, PostgreSQL, Toxiproxy): how they are had, started, reached, stopped and measured."""
