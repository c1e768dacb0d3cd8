"""A method's stages at work on a card, with what images hold there bounded."""

from collections.abc import Sequence
from contextlib import ExitStack

from mammofast.engine.lanes import Lanes
from mammofast.engine.loss import is_lost, lose
from mammofast.errors import DeviceLostError
from mammofast.methods.admission import PIXEL_BYTES, Admission, CardMemory
from mammofast.pipeline import Flow, Stage
from mammofast.records import ImageResult, ImageSource

# Calls of a stage at a time, each with a stream and contexts of its own: one copies while another computes.
LANES = 2
# Seconds from which on a call is taken to never return. On the cards that engines are built for one takes well below a
# second, and what has to be compiled was when the bundle was opened.
HUNG_AFTER = 120.0


class OnDevice:
    """A method on a card. The first of its stages takes what is admitted, the last one gives an ``ImageResult``.

    memory: who has what of the card.
    """

    memory: CardMemory

    def start(
        self,
        stages: Sequence[Stage],
        networks: Sequence[Lanes],
        pinned: tuple[int, int],
        until: str,
        made: ExitStack,
        pixel_bytes: int = PIXEL_BYTES,
    ) -> None:
        """Set the stages to work.

        networks: all that work on the card. pinned: how many buffers of pinned memory, of how many bytes; until: the
        stage that uploads from them. made: what is to be closed with the method, after its threads have come to an end.
        pixel_bytes: what an image holds of the card at most, for each of its native pixels.
        """
        admission = Admission(networks, *pinned, until=until, pixel_bytes=pixel_bytes)
        self.memory = admission.memory
        self._card = networks[0].engines[0].card
        self._flow = made.enter_context(Flow(stages, admission.holds, admission.enter, HUNG_AFTER))
        self._made = made.pop_all()

    def screen(self, images: Sequence[ImageSource]) -> list[ImageResult]:
        """Screen images; calls from several threads share batches.

        Raises
        ------
        DeviceLostError
            When the card answers no more, or a call on it has not come back.

        """
        try:
            outcomes = self._flow.results(images)
        except DeviceLostError as error:
            # One that hangs was not asked to end: nothing may wait for it.
            raise error if is_lost(self._card) else lose(self._card, error) from None
        return [
            ImageResult(images[outcome.index].shape, error=outcome.error) if outcome.item is None else outcome.item
            for outcome in outcomes
        ]

    def close(self) -> None:
        """End the threads and give back what is not the caller's."""
        self._made.close()
