"""Times and speeds as people read them."""

from datetime import datetime


def duration(seconds: float) -> str:
    """Return "42.3 s", "12 min 3 s" or "6 h 5 min"."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {whole % 60} s"


def rate(per_second: float, of_volumes: bool) -> str:
    """Return images a second as "1.25", or volumes an hour as "108"."""
    return f"{per_second * 3600:.0f}" if of_volumes else f"{per_second:.2f}"


def moment(text: str) -> str:
    """Return an ISO 8601 time as "2026-03-29 22:30:00 +0200", the clock's of the place where it was taken."""
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S %z}".rstrip()
