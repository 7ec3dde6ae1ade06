"""What a client error says about a send: the one table. Unknown is not failed.

REJECTED needs proof that no attempt can have been appended: the broker refuses such a record at every attempt, or the
client refused it before the first. Everything else is INDETERMINATE.
"""

from __future__ import annotations

from aiokafka import errors

from chaosd.journal.columns import Outcome

# Refused at every attempt, so no earlier one can have been appended.
_DEFINITE: tuple[type[BaseException], ...] = (
    errors.MessageSizeTooLargeError,
    errors.RecordListTooLargeError,
    errors.InvalidTopicError,
    errors.TopicAuthorizationFailedError,
    errors.UnsupportedForMessageFormatError,
)
# Raised by `send()` itself: the record never entered a batch.
_LOCAL: tuple[type[BaseException], ...] = (*_DEFINITE, errors.KafkaTimeoutError, errors.ProducerClosed)
# The producer's sequence is lost: every later send on that partition fails for ever (reference: aiokafka 0.14).
POISONING: tuple[type[BaseException], ...] = (errors.OutOfOrderSequenceNumber, errors.ProducerFenced)


def outcome_of(error: BaseException, *, local: bool) -> Outcome:
    """The outcome of a send that ended in `error`; `local` when `send()` itself raised it."""
    return Outcome.REJECTED if isinstance(error, _LOCAL if local else _DEFINITE) else Outcome.INDETERMINATE
