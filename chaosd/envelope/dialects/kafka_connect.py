"""Dead letters of Kafka Connect with `errors.deadletterqueue.context.headers.enable=true` (KIP-298).

Key, value and headers are the original's; what went wrong is in headers, all of them text.
"""

from __future__ import annotations

from chaosd.envelope.dialects.letter import in_text_headers

dialect = in_text_headers(
    "kafka-connect", "__connect.errors.", error_class="exception.class.name", error_message="exception.message"
)
