"""What can go wrong with a source, each with the server's own words."""


class SourceError(Exception):
    """A source did not give what was asked of it.

    `url` is the address without its query, `said` what the server answered, `request_id` the
    portal's own number of the exchange.
    """

    def __init__(
        self, problem: str, *, url: str, said: str = "", request_id: str | None = None
    ) -> None:
        self.problem, self.url, self.said, self.request_id = problem, url, said, request_id
        parts = [f"{url}: {problem}"]
        if said:
            parts.append(f"the server said: {said}")
        if request_id:
            parts.append(f"request id {request_id}")
        super().__init__("; ".join(parts))


class RequestRefusedError(SourceError):
    """A 4xx answer: asking again would not help."""


class SourceUnavailableError(SourceError):
    """No usable answer after every try: time-outs, broken connections, 5xx, 429, 202."""


class MalformedAnswerError(SourceError):
    """Status 200 with something other than the data asked for, after every try."""


class IncompleteWindowError(SourceError):
    """The rows held and what the portal says of them differ, twice."""


class MissingColumnsError(SourceError):
    """The dataset no longer has a column that the feed declares as required."""
