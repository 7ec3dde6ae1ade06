"""Dead letters of Kafka Streams (KIP-1034): the source record's raw key, value and headers, and headers of text."""

from __future__ import annotations

from chaosd.envelope.dialects.letter import in_text_headers

dialect = in_text_headers("kafka-streams", "__streams.errors.", error_class="exception", error_message="message")
